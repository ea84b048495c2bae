"""What two ways to load the same X-rays must agree on."""

import numpy as np

from datasets.xray import XrayData


def assert_same_images(a: XrayData, b: XrayData) -> None:
    for x, y in ((a.train, b.train), (a.val, b.val), (a.test, b.test)):
        np.testing.assert_array_equal(x.pixels, y.pixels)
        np.testing.assert_array_equal(x.labels, y.labels)
        np.testing.assert_array_equal(x.patients, y.patients)
        assert x.names == y.names
    assert a.fingerprint == b.fingerprint
