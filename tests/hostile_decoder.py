"""The server's decoder, with codecs that do what an image's last word says: hang, eat memory, crash, print.

`python -m tests.hostile_decoder` takes the place of `python -m cxrflow.serve.decode`; with `unbound`, numbers in DICOM
headers have no bounds.
"""

import ctypes
import os
import re
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrflow.serve import decode
from datasets import dicom

_decode = decode.decode


def act(content: bytes, job: decode.Job) -> NDArray[np.uint8]:
    """Do what is asked for, and decode."""
    match content.rsplit(b"\n", 2)[-2:]:
        case _, b"spin":
            while True:
                pass
        case _, b"native":  # does not let Python run meanwhile
            re.fullmatch("(a|a)*b", "a" * 60)
        case _, b"sleep":
            time.sleep(600)
        case _, b"eat":
            blocks = []
            while True:
                blocks.append(bytes(1 << 20) + b"1")
        case _, b"crash":
            ctypes.string_at(0)
        case _, b"abort":
            os.abort()
        case _, b"exit":
            os._exit(0)
        case _, b"system":
            os.kill(os.getpid(), 9)
        case _, b"bug":
            raise ValueError("PatientName is Doe^Jane")
        case _, b"print":
            for descriptor in (0, 1, 2):
                os.write(descriptor, b"Doe^Jane\n" * 1000)
        case path, b"write":
            Path(os.fsdecode(path)).write_bytes(b"Doe^Jane")
    return _decode(content, job)


if __name__ == "__main__":
    if "unbound" in sys.argv:  # as if nobody had thought of the numbers in a header
        assert dicom._DECIMAL
        dicom._DECIMAL = re.compile(".*")
    decode.decode = act
    decode.main()
