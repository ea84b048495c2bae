"""Look at a colour profile (ICC.1): its tone curve must be that of a display.

Pixels are taken as they are stored, the way training images are; no profile is applied. That is right for every usual
one, sRGB or a gray gamma, where the middle value shows about a fifth of the light. A profile that says something
else, linear values, reversed ones or a contrast of its own, would be a silent mistake. A profile's tables (A2B, D2B)
come before its curves, and a gray curve to Lab gives lightness, not light: both are refused.
"""

import numpy as np
from numpy.typing import NDArray

from contract.errors import ImageError

_CURVES = {b"GRAY": (b"kTRC",), b"RGB ": (b"rTRC", b"gTRC", b"bTRC")}
_MOST = 1 << 24  # size of a profile [byte]
_TABLES = (b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1", b"D2B2", b"D2B3")
_VALUES = np.linspace(0, 1, 33)  # at which a curve is looked at
_STEEPEST, _FLATTEST = 3.32, 1.252  # gammas between which it must lie; sRGB has about 2.2, linear values 1
_LOW = np.minimum(_VALUES**_STEEPEST, 0.95)  # the least light
_HIGH = np.maximum(_VALUES**_FLATTEST, 0.05)
_LOW[_LOW < 0.01], _HIGH[-1] = -0.01, 1.05
_FALL = 0.001  # of light from one value to the next, as rounding makes it


def require_display(profile: bytes) -> None:
    """Stop at a profile of values that are not for display. Raises ImageError."""
    try:
        curves = [_lights(curve) for curve in _curves(profile)]
    except (ValueError, IndexError, OverflowError, ZeroDivisionError) as err:
        raise ImageError(f"has a colour profile that cannot be read ({err}); save it as gray without one.") from err
    for light in curves:
        if not ((light >= _LOW) & (light <= _HIGH)).all() or (np.diff(light) < -_FALL).any():
            black, middle, white = light[[0, len(light) // 2, -1]]
            raise ImageError(
                f"has a colour profile in which black, middle and white are {black:.2g}, {middle:.2g} and {white:.2g} "
                "of the light, expected about 0, 0.2 and 1 on a curve like a gamma of 2.2; save it as gray without a "
                "profile."
            )


def _curves(profile: bytes) -> list[bytes]:
    """Return the tone curves of a profile."""
    if len(profile) > _MOST or profile[36:40] != b"acsp":
        raise ValueError("no profile")
    count = int.from_bytes(profile[128:132], "big")
    if count > 100:
        raise ValueError(f"{count} tags")
    tags = {}
    for entry in range(132, 132 + 12 * count, 12):
        at, size = (int.from_bytes(profile[entry + skip : entry + skip + 4], "big") for skip in (4, 8))
        tags[profile[entry : entry + 4]] = profile[at : at + size]
    space = profile[16:20]
    if space not in _CURVES:
        raise ValueError(f"its colours are {ascii(space.decode('latin-1').strip())[1:-1]}")
    if space == b"GRAY" and profile[20:24] == b"Lab ":
        raise ValueError("its curve gives lightness (Lab)")
    if tables := [name for name in _TABLES if name in tags]:
        raise ValueError(f"it has a table ({tables[0].decode()}) in place of its curves")
    missing = [name for name in _CURVES[space] if name not in tags]
    if missing:
        raise ValueError(f"no {missing[0].decode()}")
    return [tags[name] for name in _CURVES[space]]


def _lights(curve: bytes) -> NDArray[np.float64]:
    """Return the light of all _VALUES, 0..1."""
    kind, body = curve[:4], curve[12:]
    if kind == b"curv":
        count = int.from_bytes(curve[8:12], "big")
        if count == 0:
            return _VALUES
        if 2 * count > len(body):
            raise ValueError("a curve is cut off")
        if count == 1:
            return np.asarray(_VALUES ** (int.from_bytes(body[:2], "big") / 256))
        table = np.frombuffer(body, dtype=">u2", count=count) / 65535
        return np.interp(_VALUES * (count - 1), np.arange(count), table)
    if kind == b"para":
        return _parametric(curve)
    raise ValueError("a curve of an unknown kind")


def _parametric(curve: bytes) -> NDArray[np.float64]:
    """Evaluate a parametric curve, ICC.1:2022 section 10.18: (a x + b)^g + e from d on, c x + f before."""
    function = int.from_bytes(curve[8:10], "big")
    count = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}.get(function)
    if count is None or len(curve) < 12 + 4 * count:
        raise ValueError("a curve is cut off")
    given = [int(value) / 65536 for value in np.frombuffer(curve, dtype=">i4", count=count, offset=12)]
    g, a, b, c, d, e, f = given + [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0][count:]
    if function in (1, 2):  # the power begins where its base is 0; c is below it, and added to it
        slope, below, above, d = 0.0, c, c, -b / a
    else:
        slope, below, above = c, f, e

    def light(x: float) -> float:
        return float(max(a * x + b, 0.0) ** g + above if x >= d else slope * x + below)

    return np.array([light(x) for x in _VALUES.tolist()])
