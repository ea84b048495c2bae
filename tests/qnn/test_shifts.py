import io

import numpy as np
import pytest
from PIL import Image

from qnn.shifts import GRID, shifted

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 12, 16), dtype=np.uint8)


@pytest.mark.parametrize("shift", GRID, ids=lambda shift: shift.name)
def test_one_level_changes_nothing_and_every_other_does(shift: object) -> None:
    assert shift.unchanged in shift.levels  # type: ignore[attr-defined]
    for level in shift.levels:  # type: ignore[attr-defined]
        changed = shifted(PIXELS, shift.name, level)  # type: ignore[attr-defined]
        assert changed.dtype == np.uint8 and changed.shape == PIXELS.shape
        assert np.array_equal(changed, PIXELS) == (level == shift.unchanged)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(changed, shifted(PIXELS, shift.name, level))  # type: ignore[attr-defined]


def test_values_by_hand() -> None:
    np.testing.assert_array_equal(shifted(PIXELS, "exposure", 1), np.minimum(PIXELS.astype(int) * 2, 255))
    square = PIXELS[:, :, :12]
    np.testing.assert_array_equal(shifted(square, "rotation", 180), square[:, ::-1, ::-1])
    # Positive is one direction of the two; both quarter turns are exact.
    np.testing.assert_array_equal(shifted(square, "rotation", 90), np.rot90(square, 1, axes=(1, 2)))
    noise = shifted(np.full((50, 20, 20), 128, np.uint8), "noise", 10).astype(float) - 128
    assert abs(noise.mean()) < 0.2 and noise.std() == pytest.approx(10, rel=0.03)
    stream = io.BytesIO()
    Image.fromarray(PIXELS[2]).save(stream, format="JPEG", quality=50)
    np.testing.assert_array_equal(shifted(PIXELS, "jpeg", 50)[2], np.asarray(Image.open(stream)))


def test_scale_enlarges_about_the_centre() -> None:
    dot = np.zeros((1, 32, 32), np.uint8)
    dot[0, 12:20, 12:20] = 255
    assert abs((shifted(dot, "scale", 1.5) > 127).sum() - 144) <= 4
    assert abs((shifted(dot, "scale", 0.75) > 127).sum() - 36) <= 4
