"""A hostile .npz gives ArtifactError and nothing else; a save is whole or not at all."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import ArtifactError
from contract.npz import MAX_UNPACKED_BYTES, load_npz, save_npz

ARRAYS: dict[str, Any] = {"pixels": np.arange(600, dtype=np.uint8).reshape(6, 10, 10), "logits": np.arange(-3, 3)}


class Explodes:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickled object of the file was executed",))


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        load_npz(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and message.endswith(".") and "\n" not in message
    return message


def test_round_trip(tmp_path: Path) -> None:
    save_npz(tmp_path / "a.npz", ARRAYS)
    loaded = load_npz(tmp_path / "a.npz")
    assert list(loaded) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize("keep", [0, 1, 30, 200, -30, -1])
def test_truncated(tmp_path: Path, keep: int) -> None:
    save_npz(tmp_path / "a.npz", ARRAYS)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:keep])
    assert "not a whole .npz" in refusal(tmp_path / "a.npz")


def test_every_damaged_byte_is_refused_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_npz(path, {"logits": np.arange(4)})
    whole = path.read_bytes()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        try:
            contents = load_npz(path)
        except ArtifactError:
            continue
        for array in contents.values():  # checksums guard the values; names and dates have none
            np.testing.assert_array_equal(array, np.arange(4))


def test_pickled_objects_are_refused_unopened(tmp_path: Path) -> None:
    np.savez(tmp_path / "inside.npz", pixels=np.array([Explodes()], dtype=object))
    (tmp_path / "whole.npz").write_bytes(pickle.dumps(Explodes()))
    assert "allow_pickle=False" in refusal(tmp_path / "inside.npz")
    refusal(tmp_path / "whole.npz")


def test_one_array_under_two_names(tmp_path: Path) -> None:
    save_npz(tmp_path / "a.npz", ARRAYS)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("logits", archive.read("logits.npy"))
    assert "have the same names" in refusal(tmp_path / "a.npz")


def test_members_that_are_no_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("pixels.npy", b"only bytes")
    assert "pixels is none" in refusal(tmp_path / "a.npz")


def test_missing_and_folder(tmp_path: Path) -> None:
    assert "is not there" in refusal(tmp_path / "a.npz")
    assert "is not there" in refusal(tmp_path)


def forge_size(path: Path, size: int) -> None:
    """Let the archive's directory promise that its only member unpacks to `size` bytes."""
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    path.write_bytes(data)


def test_a_zip_bomb_is_refused_from_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "load", lambda *_args, **_kwargs: pytest.fail("it was opened"))
    path = tmp_path / "many.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"x")
    forge_size(path, MAX_UNPACKED_BYTES)  # this member alone is just allowed
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b", b"xxx")
    assert f"{MAX_UNPACKED_BYTES + 3:,} bytes, more than" in refusal(path)


def test_a_member_cannot_promise_more_than_its_bytes_can_unpack_to(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_npz(path, {"a": np.zeros(10)})
    forge_size(path, 1 << 28)
    assert "promises more than it can unpack to" in refusal(path)


def test_many_members_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for number in range(1001):
            archive.writestr(f"{number}.npy", b"")
    assert "too many" in refusal(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "array",
    [np.zeros((0, 3)), np.array(5), np.array("text"), np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros(2, bool)],
)
def test_every_plain_array_comes_back(tmp_path: Path, array: Any) -> None:
    np.savez(tmp_path / "a.npz", array=array)
    loaded = load_npz(tmp_path / "a.npz")["array"]
    assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape) and (loaded == array).all()
    assert loaded.flags.writeable


def test_an_array_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776, 64), }"
    header = header.ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("pixels.npy", b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + b"12345678")
    refusal(tmp_path / "a.npz")


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_npz(path, ARRAYS)
    whole = path.read_bytes()

    class Broken:
        def __array__(self, *_args: object, **_kwargs: object) -> Any:
            raise RuntimeError("disk full")

    broken: Any = {"pixels": ARRAYS["pixels"], "logits": Broken()}
    with pytest.raises(RuntimeError, match="disk full"):
        save_npz(path, broken)
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]
