"""The demo page and its API: X-rays in, answers and maps out, nothing kept."""
