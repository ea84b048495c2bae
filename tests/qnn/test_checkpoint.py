import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contract.errors import ArtifactError
from qnn.checkpoint import load_checkpoint, load_torch, save_checkpoint
from qnn.network import PixelMLP, predict_logits
from qnn.spec import NetworkSpec

SPEC = NetworkSpec(height=8, width=8, hidden=(8, 4), weight_bits=(8, 1, 3), act_bits=(1, 4))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, PixelMLP(SPEC), operating_point=-0.25, fingerprint="abc")
    return path


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)  # type: ignore[no-any-return]


def test_round_trip(good: Path) -> None:
    torch.manual_seed(0)
    net, read = PixelMLP(SPEC), load_checkpoint(good, expected=SPEC)
    assert (read.operating_point, read.fingerprint, read.net.spec, read.net.training) == (-0.25, "abc", SPEC, False)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(predict_logits(read.net, pixels), predict_logits(net, pixels))
    again = good.with_name("again.pt")
    save_checkpoint(again, read.net, operating_point=-0.25, fingerprint="abc")
    assert again.read_bytes() == good.read_bytes()
    assert sorted(p.name for p in good.parent.iterdir()) == ["again.pt", "checkpoint.pt"]  # no partial files


class _Runs:
    """Creates a file when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> Any:
        return (Path.touch, (self.sentinel,))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("container", ["torch", "pickle"])
def test_code_in_the_file_is_not_executed(good: Path, container: str) -> None:
    sentinel, bad = good.with_name("executed"), {**content(good), "fingerprint": _Runs(good.with_name("executed"))}
    if container == "torch":
        torch.save(bad, good)
        torch.load(good, weights_only=False)
        assert sentinel.exists()  # the attack works on a careless reader
        sentinel.unlink()
    else:
        good.write_bytes(pickle.dumps(bad))
    with pytest.raises(ArtifactError, match=r"damaged or holds code, and was not executed\. Train again"):
        load_checkpoint(good)
    assert not sentinel.exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_truncated_files_are_refused(good: Path, keep: float) -> None:
    whole = good.read_bytes()
    good.write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
    with pytest.raises(ArtifactError, match=r"checkpoint\.pt is not a (whole PyTorch file|file of plain tensors)"):
        load_checkpoint(good)


def test_flipped_bytes_never_escape_as_another_error(good: Path) -> None:
    whole, rng = good.read_bytes(), np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        good.write_bytes(damaged)
        try:  # a flip inside a weight or in padding goes unnoticed by design: this is no checksum
            load_checkpoint(good)
        except ArtifactError as err:
            assert str(good) in str(err)


def set_state(name: str, value: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    state = PixelMLP(SPEC).state_dict()
    return {**state, name: value}


NAN = torch.full((8, 64), torch.nan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, r"has format 2, expected 1"),
        ({"extra": 1}, r"has the keys .*extra.*expected"),
        ({"operating_point": float("nan")}, r"has operating point nan .*expected a finite number"),
        ({"fingerprint": 5}, r"fingerprint 5, expected"),
        ({"fingerprint": "x" * 10**7}, r"fingerprint 'xxx.*, expected .* a text of 300 letters at most\. Train again"),
        ({"spec": "{}x"}, r"describes no valid network"),
        ({"spec": 3}, r"describes its network in 3, expected a text of 65,536 letters at most"),
        ({"spec": "{" + " " * 10**6 + "}"}, r"describes its network in 1,000,002 letters, expected a text of 65,536"),
        ({"spec": SPEC.model_dump_json().replace("[8,1,3]", "[8,1,9]")}, r"widths are 1\.\.8"),
        ({"spec": NetworkSpec(height=8, width=8, hidden=(8, 6)).model_dump_json()}, r"expected torch\.float32\(6"),
        ({"spec": NetworkSpec(height=8, width=8, hidden=(8,)).model_dump_json()}, r"has the tensors"),
        ({"state": [1]}, r"has the tensors list"),
        (
            {"state": set_state("blocks.0.linear.weight", NAN)},
            r"blocks\.0\.linear\.weight has values that are not fini",
        ),
        (
            {"state": set_state("blocks.0.linear.weight", NAN.double())},
            r"is torch\.float64\(8, 64\), expected torch\.f",
        ),
        ({"state": set_state("head.norm.bias", "text")}, r"head\.norm\.bias is str, expected"),
    ],
)
def test_inconsistent_files_are_refused(good: Path, change: dict[str, Any], message: str) -> None:
    torch.save({**content(good), **change}, good)
    with pytest.raises(ArtifactError, match=message) as caught:
        load_checkpoint(good)
    assert len(str(caught.value)) < 2000


def test_a_network_that_the_file_does_not_hold_is_not_made(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 layers of 4096 neurons in a few kilobytes: views of one number, or one storage for all."""
    huge = NetworkSpec(height=128, width=128, hidden=(4096,) * 64)
    with torch.device("meta"):
        state = PixelMLP(huge).state_dict()
    views = {name: torch.zeros((), dtype=want.dtype).expand(want.shape) for name, want in state.items()}
    torch.save({**content(good), "spec": huge.model_dump_json(), "state": views}, good)
    with pytest.raises(ArtifactError, match=r"describes a network of 4,5.* bytes, more than it holds itself"):
        load_checkpoint(good)
    deep = SPEC.model_dump_json().replace("[8,4]", str([4] * 65))
    torch.save({**content(good), "spec": deep}, good)
    with pytest.raises(ArtifactError, match="lists 65 layers, but a network has at most 64"):
        load_checkpoint(good)


def pickled(good: Path, code: bytes) -> None:
    """Replace the pickle in the file."""
    with zipfile.ZipFile(good) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(good, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, code if name.endswith("data.pkl") else data)


def test_a_pickle_bomb_is_refused_unopened(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary's key that is a tuple of twice a tuple of twice ...: its hash takes for ever."""
    monkeypatch.setattr(torch, "load", lambda *_args, **_kwargs: pytest.fail("it was opened"))
    bomb = b"\x80\x02})" + b"".join(b"q%ch%c\x86" % (at, at) for at in range(60)) + b"K\x01s."
    assert [op.name for op, _, _ in pickletools.genops(bomb)][3:6] == ["BINPUT", "BINGET", "TUPLE2"]
    for code in bomb, bomb.replace(b"q\0", b"2\x86q\0"), b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.":
        pickled(good, code)
        with pytest.raises(ArtifactError, match="was not executed"):
            load_checkpoint(good)


def test_compressed_tensors_are_refused(good: Path) -> None:
    with zipfile.ZipFile(good) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(good, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data + bytes(1 << 20))
    with pytest.raises(ArtifactError, match="was not executed"):
        load_checkpoint(good)


def test_another_network_than_expected_is_refused(good: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds 64-8-4-1 W8,1,3A1,4 .*expected 784-64-64-1 W8A8 for 28 x 28"):
        load_checkpoint(good, expected=NetworkSpec())


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is not there\. Train again"):
        load_checkpoint(tmp_path / "none.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ArtifactError, match=r"holds a list, expected a dict\. Do this"):
        load_torch(tmp_path / "list.pt", advice="Do this.")


def test_a_diverged_network_is_not_saved(tmp_path: Path) -> None:
    net = PixelMLP(SPEC)
    with torch.no_grad():
        net.head.norm.bias.fill_(torch.inf)
    with pytest.raises(ArtifactError, match=r"head\.norm\.bias has values that are not finite"):
        save_checkpoint(tmp_path / "checkpoint.pt", net, operating_point=0, fingerprint="")
    assert not list(tmp_path.iterdir())
