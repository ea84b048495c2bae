"""Random changes to training images: geometry, then gray levels, then back to integers.

The network sees uint8 pixels in hardware, so it trains on integers 0..255 as well. One random affine map per image;
what comes into view from outside repeats the border: a black rim would be a cue that real images do not have.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from qnn.spec import Augmentation

PIXEL_MAX = 255.0


def augment(images: Tensor, config: Augmentation, generator: torch.Generator) -> Tensor:
    """Return randomly changed copies of `images`.

    Args:
        images: (N, H, W) pixels, integers 0..255 of any dtype.
        config: ranges of the changes.
        generator: the only source of randomness, on the CPU: equal states draw the same changes on every device.

    Returns:
        (N, H, W) float32 holding integers 0..255.
    """
    n, height, width = images.shape
    draws = (torch.rand((9, n), generator=generator) * 2 - 1).to(images.device)  # -1..1
    grid = _grid(_affine(draws[:6], config, aspect=height / width), height, width)
    x = images.to(torch.float32)[:, None]
    x = functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]
    gamma, gain, offset = (
        (draws[6] * config.gamma).exp()[:, None, None],
        (draws[7] * config.contrast).exp()[:, None, None],
        (draws[8] * config.brightness)[:, None, None],
    )
    # clamp: interpolation may leave 0..1 by a rounding error, and a negative base has no real power
    x = (x / PIXEL_MAX).clamp_(0, 1).pow_(gamma).mul_(PIXEL_MAX)
    mean = x.mean(dim=(1, 2), keepdim=True)
    return x.sub_(mean).mul_(gain).add_(mean).add_(offset).round_().clamp_(0, PIXEL_MAX)


def _grid(affine: Tensor, height: int, width: int) -> Tensor:
    """Return functional.affine_grid(affine, align_corners=False): (N, 2, 3) -> (N, H, W, 2), at a fifth of its time."""
    x = (torch.arange(width, device=affine.device) * 2 + 1) / width - 1
    y = ((torch.arange(height, device=affine.device) * 2 + 1) / height - 1)[:, None]
    a = affine[..., None, None]  # (N, 2, 3, 1, 1)
    grid = torch.empty((len(affine), height, width, 2), device=affine.device)
    for i in range(2):
        torch.add(a[:, i, 0] * x, a[:, i, 1] * y + a[:, i, 2], out=grid[..., i])
    return grid


def _affine(draws: Tensor, config: Augmentation, *, aspect: float) -> Tensor:
    """Return (N, 2, 3) maps from output to input positions: rotate(shear(scale(p))) + shift, in affine_grid units.

    Args:
        draws: (6, N) numbers in -1..1: angle, x scale, y scale, shear, x shift, y shift.
        config: ranges.
        aspect: height over width; affine_grid units are half sides, so a rotation needs it to keep angles.
    """
    angle = draws[0] * math.radians(config.rotation_deg)
    sx, sy = 1 + draws[1] * config.scale, 1 + draws[2] * config.scale
    cos, sin, shear = angle.cos(), angle.sin(), draws[3] * config.shear
    tx, ty = draws[4] * config.shift, draws[5] * config.shift
    row_x = torch.stack((cos * sx, (cos * shear - sin) * sy * aspect, tx), dim=-1)
    row_y = torch.stack((sin * sx / aspect, (sin * shear + cos) * sy, ty), dim=-1)
    return torch.stack((row_x, row_y), dim=1)
