"""Throw hostile requests at a running server and count what comes back.

python -m tests.fuzz_serve 10000     # `make fuzz`; a tenth from the OpenAPI description, the rest mutated uploads

Uploads begin as whole X-rays of every format, forms included, and are then cut, flipped, spliced and mislabelled:
random bytes alone would never get past the first check.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.checks import CHECKS

from contract.decision import Head
from contract.network import Input
from cxrflow.serve.limits import Limits
from tests import dicom_files
from tests.deploy_folder import write_deploy, write_integers
from tests.served import BOUNDARY, File, Served, form, noise, png, serving
from tests.value_files import files_of_signs

LIMITS = Limits(file_bytes=60_000, request_bytes=120_000, files=3, pixels=300_000, idle_s=5, upload_s=10)
WORTH_CHECKING = {
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance",
}  # fmt: skip
PATHS = ("/api/predict", "/api/explain", "/api/predict?run=values")
VALUES = [[1] * 6, [-1] * 6]


def whole_files() -> list[bytes]:
    """X-rays that are answered: the seeds of everything else."""
    gray = noise(40)
    deep = gray.astype("uint16") * 257
    dicoms = [
        dicom_files.make(gray, bits=8), dicom_files.make(deep >> 4, bits=12, WindowCenter="2000", WindowWidth="900"),
        dicom_files.make(deep, bits=16, syntax=dicom_files.IMPLICIT, RescaleSlope="2", RescaleIntercept="-1024"),
        dicom_files.make(gray, bits=8, PhotometricInterpretation="MONOCHROME1", VOILUTFunction="SIGMOID",
                         WindowCenter="128", WindowWidth="99"),
        dicom_files.encapsulated(dicom_files.make(gray, bits=8), "1.2.840.10008.1.2.4.50", png(gray, "JPEG")),
    ]  # fmt: skip
    return [png(gray), png(deep), png(gray, "JPEG"), *map(dicom_files.content, dicoms)]


def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """`content` after some cuts, flips, insertions and repetitions."""
    data = bytearray(content)
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 2, 3, 6]))):
        at = draw(st.integers(0, max(0, min(len(data) - 1, draw(st.sampled_from([200, 1000, 1 << 20]))))))
        match draw(st.sampled_from(["flip", "set", "cut", "drop", "insert", "repeat"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set" if data:
                data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
            case "cut":
                del data[at:]
            case "drop":
                del data[at : at + draw(st.integers(1, 64))]
            case "insert":
                data[at:at] = draw(st.binary(max_size=32))
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 2000))]
    return bytes(data)


NAMES = st.one_of(
    st.sampled_from(["a.png", "../a", "a\\b", "", "con", "a\x00b", "%00", "a;b", "\u202egnp.exe", "x" * 300]),
    st.text(max_size=20).map(lambda text: text.replace('"', "'").encode(errors="replace").decode()),
)
RARELY = st.sampled_from([False] * 9 + [True])
KINDS = st.sampled_from(
    ["application/octet-stream"] * 4
    + ["image/png", "image/jpeg", "application/dicom", "image/svg+xml", "", "text/html"]
)


@st.composite
def uploads(draw: st.DrawFn) -> tuple[str, bytes, dict[str, str]]:
    """A path, a body and its header."""
    path = draw(st.sampled_from(PATHS))
    seeds = files_of_signs() if "values" in path or draw(RARELY) else whole_files()
    files = [
        File(
            mutated(draw, draw(st.sampled_from(seeds))),
            draw(NAMES) if draw(RARELY) else "a.png",
            draw(KINDS) if draw(RARELY) else "application/octet-stream",
            draw(st.sampled_from(["files"] * 29 + ["file"])),
        )
        for _ in range(draw(st.sampled_from([1, 1, 1, 1, 2, 3, 4, 0])))
    ]
    body = form(*files)
    if draw(RARELY):
        body = mutated(draw, body)
    header = draw(
        st.sampled_from([f"multipart/form-data; boundary={BOUNDARY}"] * 29 + ["multipart/form-data", "text/plain"])
    )
    if "?" in path:
        if draw(st.booleans()) and files:  # the file is the whole body
            return path, files[0].content, {"Content-Type": files[0].kind}
        return path, body, {"Content-Type": header}
    path += draw(st.sampled_from(["", "", "?device=cpu", "?point=balanced", "?fill=mean"]))
    return path, body, {"Content-Type": header}


def fuzz_uploads(server: Served, count: int, seen: Counter[int]) -> None:
    """Send mutated uploads. Raises AssertionError at a 5xx, with the smallest request that causes it."""

    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck),
              phases=(Phase.generate, Phase.shrink))  # fmt: skip
    @given(upload=uploads())
    def send(upload: tuple[str, bytes, dict[str, str]]) -> None:
        path, body, headers = upload
        reply = server.ask("POST", path, body, **headers)
        seen[reply.status] += 1
        assert reply.status < 500, reply.content
        assert "not a medical device" in reply.json()["note"]

    send()


def fuzz_description(server: Served, count: int, seen: Counter[int]) -> None:
    """Send what schemathesis makes of the OpenAPI description, valid and not, and hold the answers against it."""
    schema = schemathesis.openapi.from_url(f"{server.url}openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
    checks = [check for check in CHECKS.get_all() if check.__name__ in WORTH_CHECKING]
    assert len(checks) == len(WORTH_CHECKING) and len(operations) == 5
    for operation in operations:

        @settings(max_examples=max(1, count // len(operations)), database=None, deadline=None,
                  suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink))  # fmt: skip
        @given(case=operation.as_strategy())
        def send(case: "Case[Any]") -> None:
            response = case.call()
            seen[response.status_code] += 1
            case.validate_response(response, checks=checks)  # type: ignore[arg-type]

        send()


def fuzz(count: int) -> Counter[int]:
    """Send `count` requests, a few less where Hypothesis finds nothing new; return how often each status came."""
    seen: Counter[int] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        network = write_deploy(Path(folder) / "run")
        signs = Input(1, 6, 1, "bipolar")
        other = write_integers(Path(folder) / "values", signs, 2, outputs=3, result_bits=32, head=Head())
        with serving(Path(folder) / "run", Path(folder) / "values", limits=LIMITS) as server:
            fuzz_description(server, max(5, count // 10), seen)
            fuzz_uploads(server, count - seen.total(), seen)
            pixels = noise()
            reply = server.post(PATHS[0], File(png(pixels)))  # still right after all of that
            assert reply.json()["results"][0]["logit"] == network.outputs(pixels[None])[-1][0, 0]
            rows = server.ask("POST", PATHS[2], json.dumps(VALUES).encode()).json()["results"]
            want = other.outputs(np.array(VALUES, dtype=np.int8)[:, None])[-1]
            assert [row["outputs"] for row in rows] == want.tolist()
    return seen


if __name__ == "__main__":
    start = time.perf_counter()
    counted = fuzz(int(sys.argv[1]))
    print(f"{counted.total()} requests in {time.perf_counter() - start:.0f} s, none 5xx; by status:", dict(counted))
