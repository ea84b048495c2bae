"""JPEG: gray or colour of 8 bits, sequential or progressive, coded by Huffman (ITU-T T.81).

Four components are CMYK, stored inverted, if an Adobe segment says so; without one nothing does. EXIF says which side
is up. Arithmetic coding, lossless and hierarchical files and 12 bits are refused, and so are files of several images.

Scans and coefficients that are missing altogether are noticed here, data that end within one by contract.images.coded.
"""

import re
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.errors import ImageError
from contract.images.coded import RESTART, exact_pixels
from contract.images.gray import ANOTHER, Stored, gray_of, unpack
from contract.images.icc import require_display
from contract.images.ifd import MOST_XMP, exif_orientation, read_ifd, require_agreement, xmp_orientations

MAGIC = b"\xff\xd8\xff"
_MAX_SCANS = 100  # a progressive file has about ten
_MAX_SCANNED = 1_000_000_000  # pixels times scans: each scan may cost a pass over all pixels
_MAX_SEGMENTS = 10_000
_MAX_RESTARTS = 4_000_000  # they are counted one by one; 100 megapixels have at most 1.6 million blocks
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # but for those within a scan, and fill bytes
_FRAMES = {marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC)}
_READ = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}  # the frames that are read
_SOI, _EOI, _SOS, _APP0, _APP1, _APP2, _APP8, _APP14 = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xE2, 0xE8, 0xEE
_DRI, _PROGRESSIVE, _LOSSLESS, _LS = 0xDD, 0xC2, 0xC3, 0xF7
_SPIFF = {1: 8, 3: 3}  # the colours of a SPIFF header that are read, by components: gray, and YCbCr as JFIF has it
_IMAGES = 0xB001  # tag of the index of a multi-picture file: how many there are


@dataclass
class Segments:
    """What the segments of a stream say."""

    frame: int = 0  # marker of the frame
    bits: int = 0
    width: int = 0
    height: int = 0
    sampling: list[tuple[int, int]] = field(default_factory=list)  # of each component, across and down
    identities: bytes = b""  # of the components
    scans: list[tuple[int, int]] = field(default_factory=list)  # begin and end of the coded data of each
    coded: dict[int, list[int]] = field(default_factory=dict)  # lowest bit that is coded of each of 64 coefficients
    interval: int = 0  # units from one restart marker to the next, 0 without
    restarts: int = 0  # restart markers in all scans
    jfif: bool = False
    adobe: int | None = None  # transform of the Adobe segment
    spiff: set[int] = field(default_factory=set)  # colours of SPIFF headers (ITU-T T.84, Annex F)
    sides: set[int] = field(default_factory=set)  # which is up, as EXIF segments say
    xmp: bytearray = field(default_factory=bytearray)  # all packets
    profile: list[tuple[int, int, bytes]] = field(default_factory=list)  # number, how many, part
    images: int = 1

    @property
    def work(self) -> float:
        """Samples per pixel of the components as they are coded."""
        across, down = (max(factor[axis] for factor in self.sampling) for axis in (0, 1))
        return sum(h * v for h, v in self.sampling) / (across * down)

    @property
    def plain(self) -> bool:
        """Whether there is but one scan, in which all of a block is coded at once."""
        return len(self.scans) == 1 and self.frame != _PROGRESSIVE


def segments(content: bytes) -> Segments:
    """Walk through a stream, the scans included.

    Raises:
        ImageError: it has absurdly many scans or segments, holds several images, or is JPEG-LS.
        ValueError: it is damaged.
    """
    found = Segments()
    at = 2
    for _ in range(_MAX_SEGMENTS):
        match = _MARKER.search(content, at)
        if match is None or match[1][0] == _EOI:  # an end is not asked for: what is missing is noticed by the decoder
            if match is not None and ANOTHER.match(content, match.end()):
                found.images = max(found.images, 2)
            return found
        marker, at = match[1][0], match.end()
        size = int.from_bytes(content[at : at + 2], "big")
        body = content[at + 2 : at + size]
        if marker == _SOI or len(body) != size - 2:
            raise ValueError("a segment is cut off")
        at += size
        if marker == _LS:  # its scans are made in another way, and would look damaged
            raise ImageError("is a JPEG-LS file, expected a JPEG, baseline or progressive; save it as PNG.")
        if marker == _SOS:
            _scan(found, body, content, at)
        elif marker in _FRAMES:
            _frame(found, marker, body)
        else:
            _application(found, marker, body)
    raise ImageError(f"has more than {_MAX_SEGMENTS} JPEG segments; save it again.")


def _frame(found: Segments, marker: int, body: bytes) -> None:
    if found.frame or len(body) < 6 or len(body) != 6 + 3 * body[5] or not body[5]:
        raise ValueError("a frame header is damaged")
    found.frame, found.bits = marker, body[0]
    found.height, found.width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    found.identities = body[6::3]
    found.sampling = [(factors >> 4, factors & 15) for factors in body[7::3]]
    if any(not 1 <= factor <= 4 for pair in found.sampling for factor in pair):
        raise ValueError("a frame header is damaged")


def _scan(found: Segments, body: bytes, content: bytes, start: int) -> None:
    if len(body) < 6 or len(body) != 4 + 2 * body[0]:
        raise ValueError("a scan header is damaged")
    match = _MARKER.search(content, start)
    end = len(content) if match is None else match.start()
    while end > start and content[end - 1] == 0xFF:  # fill bytes belong to the marker
        end -= 1
    found.scans.append((start, end))
    if found.interval:
        expected = max(0, -(-_units(found, body[1:-3:2]) // found.interval) - 1)
        found.restarts += expected
        if found.restarts > _MAX_RESTARTS:
            raise ImageError(f"has more than {_MAX_RESTARTS} restart markers, expected fewer; save it again.")
        if sum(1 for _ in islice(RESTART.finditer(content, start, end), expected)) < expected:
            raise ValueError("its pixel data end early")
    first, last, low = (body[-3], body[-2], body[-1] & 15) if found.frame == _PROGRESSIVE else (0, 63, 0)
    for identity in body[1:-3:2]:
        coefficients = found.coded.setdefault(identity, [16] * 64)
        coefficients[first : last + 1] = [low] * len(coefficients[first : last + 1])


def _units(found: Segments, identities: bytes) -> int:
    """Return how many blocks a scan of one component has, or groups of blocks one of several; lossless, of pixels."""
    factors = dict(zip(found.identities, found.sampling, strict=True))
    if not factors or any(identity not in factors for identity in identities):
        raise ValueError("a scan header is damaged")
    count, unit = 1, 1 if found.frame == _LOSSLESS else 8
    for axis, size in ((0, found.width), (1, found.height)):
        largest = max(factor[axis] for factor in found.sampling)
        if len(identities) == 1:
            size = -(-size * factors[identities[0]][axis] // largest)
            largest = 1
        count *= -(-size // (unit * largest))
    return count


def _application(found: Segments, marker: int, body: bytes) -> None:
    if marker == _DRI:
        found.interval = int.from_bytes(body, "big")
    elif marker == _APP0 and body.startswith(b"JFIF\0"):
        found.jfif = True
    elif marker == _APP1 and body.startswith(b"Exif\0"):
        found.sides.add(exif_orientation(body[6:]))
    elif marker == _APP1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
        found.xmp += body if len(found.xmp) <= MOST_XMP else b""  # more is refused, and takes no memory before
    elif marker == _APP2 and body.startswith(b"ICC_PROFILE\0") and len(body) >= 14:
        found.profile.append((body[12], body[13], body[14:]))
    elif marker == _APP2 and body.startswith(b"MPF\0"):
        found.images = max(found.images, read_ifd(body[4:]).number(_IMAGES))
    elif marker == _APP8 and body.startswith(b"SPIFF\0") and len(body) >= 19:
        found.spiff.add(body[18])
    elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
        found.adobe = body[11]


def look(content: bytes) -> Stored:
    """Return what a JPEG file says. Raises ImageError for what is not read, ValueError for damage."""
    found = segments(content)
    if not found.frame or not found.scans:
        raise ValueError("no image in it")
    if found.images != 1:
        raise ImageError(f"holds {found.images} images, expected exactly one; save the one that is meant.")
    components = len(found.sampling)
    kind = _READ.get(found.frame)
    if kind is None or found.bits != 8:
        what = f"{found.bits} bits per sample" if kind else "arithmetic, lossless or hierarchical coding"
        raise ImageError(f"is a JPEG with {what}, expected 8 bits, baseline or progressive; save it as PNG.")
    if components not in (1, 3, 4):
        raise ImageError(f"is a JPEG of {components} components, expected gray or colour; save it as gray.")
    if components == 4 and found.adobe not in (0, 2):
        raise ImageError("is a JPEG of four components and does not say of which colours; save it as gray.")
    if components == 3 and found.jfif and found.adobe == 0:
        raise ImageError("is a JPEG that says both YCbCr (JFIF) and RGB (Adobe) of its colours; save it as gray.")
    if found.spiff - {_SPIFF.get(components)}:
        raise ImageError(
            f"is a JPEG of {components} components with a SPIFF header of colours {min(found.spiff)}, expected gray "
            "(8) of one or YCbCr (3) of three; save it as gray."
        )
    _require_profile(found.profile, components)
    width, height, scans = found.width, found.height, len(found.scans)
    if scans > _MAX_SCANS:
        raise ImageError(f"has {scans} JPEG scans, expected at most {_MAX_SCANS}; save it again.")
    if scans * width * height > _MAX_SCANNED > width * height:
        raise ImageError(f"has {scans} JPEG scans of {width} x {height} pixels, expected fewer; save it again.")
    if any(any(found.coded.get(identity, [16])) for identity in found.identities):
        raise ValueError("its pixel data end early")
    # The decoder keeps 1 or 4 bytes a pixel, and of several scans all coefficients, of 2 bytes; the gray is ours, and
    # so is the file with junk.
    memory = (1 if components == 1 else 4) + 1 + (0 if found.plain else 2 * found.work)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[components]

    def read(stream: bytes) -> Image.Image:
        return unpack(stream, "JPEG", width=width, height=height, modes=(mode,))

    def decode() -> NDArray[np.uint8]:
        return gray_of(exact_pixels(content, found.scans, found.restarts, read))

    side = max(found.sides, default=1)
    if len(found.sides) > 1:
        raise ImageError("has EXIF data that disagree about which side is up; save it upright.")
    require_agreement(side, xmp_orientations(bytes(found.xmp)))
    return Stored("JPEG", mode, 8, width, height, side, round(memory * width * height) + len(content), decode)


def _require_profile(parts: list[tuple[int, int, bytes]], components: int) -> None:
    """Stop at a colour profile that would have to be applied."""
    if not parts:
        return
    if components == 4:
        raise ImageError("is CMYK with a colour profile, expected gray or RGB; save it as gray.")
    parts = sorted(parts)
    if [number for number, _, _ in parts] != list(range(1, parts[0][1] + 1)):
        raise ImageError("has a colour profile that is not whole; save it as gray without one.")
    require_display(b"".join(part for _, _, part in parts))
