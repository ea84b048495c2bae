"""X-rays in: any source to uint8 pixels, labels and patients, with patient-wise splits."""
