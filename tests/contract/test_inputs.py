"""Files of what is fed: each format gives the numbers that are in it, and nothing else passes for one.

Kinds of fault: a number that is read as another one, an input on its side, a text that allocates, hangs or is executed.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import ArtifactError, CxrflowError, DataError
from contract.inputs import Fed, read_inputs
from tests.value_files import npy, npz, table

FLOATS, SIGNS, BYTES = Fed("float", (1, 2, 2)), Fed("bipolar", (4,)), Fed("int4", (4,))
X = np.array([[0.5, -1.25, 1e-7, 3.0], [1e30, 0.1, -0.0, 2.0]])


@pytest.mark.parametrize(
    "content",
    [
        npz(x=X, y=np.arange(2)), npz(x=X.reshape(2, 2, 2)), npy(X), npy(np.asfortranarray(X)), npy(X.astype(">f8")),
        json.dumps(X.tolist()).encode(), json.dumps(X.reshape(2, 1, 2, 2).tolist(), indent=1).encode(),
        b"\xef\xbb\xbf [[0.5, -125e-2, 1E-7, 3], [1e30, 0.1, 0, 2]]\n", table(X, ","), table(X, " "), table(X, "\t"),
        table(X, ";", header="a;b;\xe4;1 d"), table(X, ", ").replace(b"\n", b"\r\n\r\n"),
        table(X, ",").replace(b"\n", b"\r"),
        b"a,b,c,d\n.5,-1.25,1e-07,3.\n+1e30,.1,0,2", b'"a","b c","d","e"\n"0.5","-1.25","1e-7","3"\n"1e30",0.1,"0","2"',
    ],
)  # fmt: skip
def test_the_numbers_come_back_exactly(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "any.name").write_bytes(content)
    for source in (content, tmp_path / "any.name"):
        found = read_inputs(source, FLOATS, name="it")
        assert found.dtype == np.float64 and found.shape == (2, 1, 2, 2)
        np.testing.assert_array_equal(found.reshape(2, 4), X)


@pytest.mark.parametrize("content", [npy(X[0]), npy(X[0].reshape(2, 2)), b"[0.5, -1.25, 1e-7, 3]", table(X[:1], ",")])
def test_one_input_needs_no_list_of_its_own(content: bytes) -> None:
    np.testing.assert_array_equal(read_inputs(content, FLOATS, name="it").reshape(1, 4), X[:1])


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint64, np.float16, np.float64, bool])
def test_whole_numbers_of_any_type_become_the_integers(kind: Any) -> None:
    found = read_inputs(npy(np.array([[0, 1, 1, 1]], dtype=kind)), BYTES, name="it")
    assert found.dtype == np.int8 and found.tolist() == [[0, 1, 1, 1]]
    assert read_inputs(b"1 -1 1 1", SIGNS, name="it").tolist() == [[1, -1, 1, 1]]
    assert read_inputs(b"[[7, -8, 1e0, -0.0]]", BYTES, name="it").tolist() == [[7, -8, 1, 0]]


class Explodes:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickled object of the file was executed",))


def lying(shape: str, data: bytes = b"12345678") -> bytes:
    """An .npy whose header promises another shape than there are bytes."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + data


SHAPE = r"it holds an array of the shape \({}\), expected \(N, 1, 2, 2\) or \(N, 4\)\."
REFUSED: dict[str, tuple[bytes, str]] = {
    "another length": (b"1,2,3\n4,5,6", SHAPE.format("2, 3")),
    "of more sides": (npy(np.zeros((5, 4, 1, 2))), SHAPE.format("5, 4, 1, 2")),
    "none": (npy(np.zeros((0, 4))), SHAPE.format("0, 4")),
    "a number": (npy(np.float64(4)), SHAPE.format("")),
    "no rows": (b"[]", SHAPE.format("0,")),
    "empty rows": (b"[[],[],[]]", SHAPE.format("3, 0")),
    "nothing": (b"", "it holds no number"),
    "names alone": (b"a,b,c,d\n", "it holds no number"),
    "ragged lists": (b"[[1,2,3,4],[1,2,3]]", "it has lists of 3 and of 4 side by side, expected of one"),
    "a list beside a number": (b"[[1,2,3,4],5]", "no number in its lists"),
    "texts": (b'[["1","2","3","4"]]', "no number in its lists"),
    "a long text and many": (b'[["' + b"x" * 10**6 + b'"]' + b',["y"]' * 10**5 + b"]", "no number in its lists"),
    "null": (b"[[1,2,null,4]]", "no number in its lists"),
    "true": (b"[[1,2,true,4]]", "no number in its lists"),
    "an object": (b'{"x": [[1,2,3,4]]}', "no number in its lists"),
    "NaN": (b"[[1,2,NaN,4]]", "it is no whole JSON of lists and finite numbers, expected an .npz"),
    "Infinity": (b"[[1,2,-Infinity,4]]", "no whole JSON"),
    "1e400": (b"[[1,2,3,4],[1,2,1e400,4]]", "no finite number of float32, first in input 1"),
    "1e39": (b"1,2,1e39,4", "no finite number of float32, first in input 0"),
    "5000 digits": (b"[[1,2,3," + b"9" * 5000 + b"]]", "no finite number of float32"),
    "deep": (b"[" * 100_000, "no whole JSON"),
    "deep and whole": (b"[" * 400 + b"1" + b"]" * 400, "no number in its lists"),
    "half": (b"[[1,2,3,4],[1,2", "no whole JSON"),
    "a word": (b"1,2,3,4\n1,2,x,4", r"it has what is no finite number in line 2"),
    "an empty cell": (b"1,2,,4", "no finite number in line 1"),
    "nan in a table": (b"1,2,nan,4", "no finite number in line 1"),
    "decimal commas": (b"1,5;2,5;3,5;4,5", "it holds no number"),
    "underscores": (b"1_0,2,3,4", "no finite number in line 1"),
    "other digits": ("1,2,\u0663,4".encode(), "no finite number in line 1"),
    "hexadecimal": (b"1,2,0x3,4", "no finite number in line 1"),
    "a ragged table": (b"1,2,3,4\n\n1,2,3", "it has 3 numbers in line 3, expected 4 as above"),
    "nan above": (b"nan,nan,nan,nan\n1,2,3,4", "no finite number in line 1"),
    "infinity above": (b"-INF;x;y;z\n1;2;3;4", "no finite number in line 1"),
    "no numbers": (b"hi\n", "it holds no number, expected an .npz"),
    "numbers of columns above": (b"0,1,2,3\n5,6,7,8", "begins with the line 0 to 3, which a table has as names"),
    "two lines of names": (b"a,b,c,d\na,b,c,d\n1,2,3,4", "no finite number in line 2"),
    "a picture": (b"\x89PNG\r\n\x1a\n\xff", "it is of no known kind, expected an .npz"),
    "UTF-16": ("1,2,3,4".encode("utf-16"), "it is of no known kind"),
    "no x": (npz(y=X), "it has no array 'x', expected one"),
    "complex": (npy(X + 1j), "not a whole .npy file"),
    "words": (npy(X.astype("U9")), "holds <U9, expected numbers that float64 holds exactly"),
    "beyond 2^53": (npy(np.full((1, 4), 2**53 + 1, dtype=np.int64)), "expected numbers that float64 holds exactly"),
    "pickled": (npy(np.array([[Explodes()] * 4], dtype=object), allow_pickle=True), "allow_pickle=False"),
    "pickled in an npz": (npz(x=np.array([[Explodes()] * 4], dtype=object)), "allow_pickle=False"),
    "a lie": (lying("(1099511627776, 4)"), "shorter or longer than its header says"),
    "a negative lie": (lying("(-1, -1)"), "not a whole .npy file"),
    "half an npy": (npy(X)[:-1], "shorter or longer than its header says"),
    "half an npz": (npz(x=X)[:-30], "not a whole .npz file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    content, message = REFUSED[name]
    with pytest.raises(CxrflowError, match=message) as caught:
        read_inputs(content, FLOATS, name="it")
    assert str(caught.value).startswith("it ") and str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("fed", "content", "message"),
    [
        (BYTES, b"1,2,8,4", r"numbers from 1\.0 to 8\.0, expected whole ones: int4 \(-8 to 7\)"),
        (BYTES, b"1,2,0.5,4", r"numbers from 0\.5 to 4\.0, expected whole ones"),
        (BYTES, npy(np.array([[257, 0, 0, 0]])), "numbers from 0 to 257"),  # 1 in its low byte
        (BYTES, npy(np.array([[2**63, 0, 0, 0]], dtype=np.uint64)), "float64 holds exactly"),
        (SIGNS, b"1,-1,0,1", r"numbers from -1\.0 to 1\.0, expected whole ones: bipolar \(-1 or \+1\)"),
    ],
)
def test_numbers_that_the_integers_do_not_have(fed: Fed, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_inputs(content, fed, name="it")


def test_an_input_on_its_side() -> None:
    with pytest.raises(DataError, match=r"the shape \(5, 3, 2\), expected \(N, 2, 3\) or \(N, 6\)"):
        read_inputs(npy(np.zeros((5, 3, 2))), Fed("float", (2, 3)), name="it")


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.csv", "is not there"), (tmp_path, "is no regular file")):
        with pytest.raises(ArtifactError, match=message):
            read_inputs(path, FLOATS, name=str(path))
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(DataError, match="a text of more than 24 MiB"):
        read_inputs(tmp_path / "large.csv", FLOATS, name="it")
