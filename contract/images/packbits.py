"""Unpack PackBits, the run lengths of TIFF (its section 9) and of DICOM (PS3.5, annex G.3)."""


def packbits(data: "bytes | memoryview", size: int, *, spare: int = 0) -> bytearray:
    """Return the first `size` bytes that `data` hold, and up to `spare` more. Raises ValueError if they hold fewer."""
    out = bytearray()
    at, end = 0, len(data)
    while len(out) < size + spare and at < end:
        head = data[at]
        if head < 128:  # that many bytes and one more, as they are
            out += data[at + 1 : at + 2 + head]
            at += 2 + head
        else:  # one byte, repeated; 128 is nothing
            if head > 128:
                out += bytes(data[at + 1 : at + 2]) * (257 - head)
            at += 2 if head > 128 else 1
    if len(out) < size:
        raise ValueError(f"{len(out)} bytes of {size}")
    del out[size + spare :]
    return out
