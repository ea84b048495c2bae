"""A few hundred hostile requests; `make fuzz` sends ten thousand."""

from tests.fuzz_serve import fuzz


def test_nothing_is_a_server_error() -> None:
    seen = fuzz(250)
    assert seen.total() >= 240 and {200, 400, 415, 422} <= set(seen), seen
