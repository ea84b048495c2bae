"""X-rays in: any source, recognised by what it is, to uint8 pixels, labels and patients, with patient-wise splits."""
