from typing import Any

import pytest
import torch

from qnn.augment import augment
from qnn.spec import Augmentation

STILL: dict[str, Any] = {
    "rotation_deg": 0,
    "scale": 0,
    "shear": 0,
    "shift": 0,
    "gamma": 0,
    "contrast": 0,
    "brightness": 0,
}
IMAGES = torch.randint(0, 256, (64, 20, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_ranges_of_zero_change_nothing() -> None:
    assert torch.equal(augment(IMAGES, Augmentation(**STILL), generator()), IMAGES.float())


def test_results_are_integers_in_range_and_follow_the_generator() -> None:
    strong = Augmentation(gamma=2, contrast=2, brightness=255)
    changed = augment(IMAGES, strong, generator())
    assert changed.shape == IMAGES.shape and changed.dtype == torch.float32
    assert torch.equal(changed, changed.round()) and changed.min() == 0 and changed.max() == 255
    assert torch.equal(changed, augment(IMAGES, strong, generator()))
    assert not torch.equal(changed, augment(IMAGES, strong, generator(1)))


@pytest.mark.parametrize("name", list(STILL))
def test_every_range_acts_and_acts_differently_on_each_image(name: str) -> None:
    same = IMAGES[:1].repeat(8, 1, 1)
    changed = augment(same, Augmentation(**{**STILL, name: 0.3 if name != "brightness" else 60}), generator())
    assert len(torch.unique(changed, dim=0)) > 1


def test_geometry_repeats_the_border() -> None:
    flat = torch.full((16, 8, 8), 200, dtype=torch.uint8)
    assert torch.equal(augment(flat, Augmentation(**{**STILL, "shift": 1.5}), generator()), flat.float())


def test_rotation_keeps_lengths_on_images_that_are_not_square() -> None:
    bar = torch.zeros((400, 32, 64), dtype=torch.uint8)
    bar[:, 8:24, 30:34] = 255  # 16 tall, 4 wide
    turned = augment(bar, Augmentation(**{**STILL, "rotation_deg": 90}), generator()) > 127
    assert (turned.sum(dim=(1, 2)) - 64).abs().max() <= 8
    widths = turned.any(dim=1).sum(dim=1)
    assert widths.min() == 4 and 16 <= widths.max() <= 18  # upright in one draw, lying in another
