"""The command line as a user meets it: what mistakes get, what survives, what is run again."""

import json
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from contract.errors import MismatchError
from contract.files import hash_file

STAGES = ["train", "export", "build", "package"]


def forge(stage: Path, name: str) -> None:
    """Make stage.json agree with a changed file, as somebody who means harm would."""
    stamp = json.loads((stage / "stage.json").read_text(encoding="utf-8"))
    stamp["files"][name] = hash_file(stage / name)
    (stage / "stage.json").write_text(json.dumps(stamp), encoding="utf-8")


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hash_file(p) for p in folder.rglob("*") if p.is_file()}


# --- usage


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["trian"], "No such command 'trian'"),
        (["train"], "Missing argument 'file'"),
        (["train", "a.yaml", "--dta", "x"], "No such option"),
        (["infer", "deploy"], "Missing argument 'images'"),
    ],
)
def test_usage_errors_exit_with_2(bare: Any, args: list[str], word: str) -> None:
    outcome = bare(*args)
    assert outcome.code == 2 and word in outcome.err and "Traceback" not in outcome.err


def test_help_names_every_command(bare: Any) -> None:
    outcome = bare("--help")
    assert outcome.code == 0
    for command in ("data", "train", "export", "build", "simulate", "package", "run", "infer", "report", "doctor"):
        assert f" {command} " in outcome.out


@pytest.mark.parametrize(
    "args", [["--help"], ["doctor"], ["infer", "{deploy}", "{image}"], ["train", "nope.yaml"], ["report", "{run}"]]
)
def test_light_commands_do_not_import_heavy_packages(finished: Any, args: list[str]) -> None:
    """PyTorch alone takes longer to import than a user waits for --help."""
    image = finished.folder / "xrays" / "test" / "NORMAL" / "IM-test0001-0001.png"
    filled = [arg.format(run=finished.run, deploy=finished.run / "deploy" / "pynq-z2", image=image) for arg in args]
    program = (
        "import sys; from cxrflow import cli\n"
        f"sys.argv = ['cxrflow', *{filled!r}]\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    heavy = {"torch", "brevitas", "lightning", "sklearn", "scipy", "onnx", "qonnx", "finn"}
    if args[0] != "report":  # which draws
        heavy.add("matplotlib")
    assert heavy & set(done.stderr.split()) == set()


# --- data


def remove_all(xrays: Path) -> None:
    shutil.rmtree(xrays)


def empty(xrays: Path) -> None:
    shutil.rmtree(xrays)
    xrays.mkdir()


def one_class(xrays: Path) -> None:
    shutil.rmtree(xrays / "train" / "NORMAL")


def empty_class(xrays: Path) -> None:
    for path in (xrays / "test" / "PNEUMONIA").iterdir():
        path.unlink()


def misspelled(xrays: Path) -> None:
    (xrays / "train" / "PNEUMONIA").rename(xrays / "train" / "PNEUMONA")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove_all, ["xrays: does not exist", "expected a folder with train/NORMAL"]),
        (empty, ["has no folder 'train'", "point at the folder that holds train and test"]),
        (one_class, ["train/NORMAL: holds no usable image", "expected images of both classes"]),
        (empty_class, ["test/PNEUMONIA: holds no usable image", "expected images of both classes"]),
        (misspelled, ["PNEUMONA: is no class folder", "did you mean PNEUMONIA?"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_data_folder_that_cannot_be_used(bare: Any, damage: Callable[[Path], None], words: list[str]) -> None:
    damage(bare.folder / "xrays")
    for command in (["data", "check"], ["run"]):
        bare(*command, "tiny.yaml").assert_refused(*words)
    assert not bare.run.exists()


def black_png(width: int, height: int) -> bytes:
    """Return a PNG of 1-bit pixels without ever holding them: 20,000 x 20,000 are 50 kB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + -(-width // 8)) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def add_bad_images(folder: Path) -> dict[str, str]:
    """Write unusable files; return a word of the reason for each."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "whole.jpeg")
    (folder / "cut.jpeg").write_bytes((folder / "whole.jpeg").read_bytes()[:-1000])
    (folder / "whole.jpeg").unlink()
    (folder / "text.jpeg").write_text("not an image")
    Image.new("L", (1, 1)).save(folder / "dot.png")
    (folder / "huge.png").write_bytes(black_png(20_000, 20_000))
    return {"cut.jpeg": "damaged", "text.jpeg": "is not a JPEG", "dot.png": "1 x 1", "huge.png": "megapixels"}


def add_legal_modes(folder: Path) -> list[Path]:
    """Write an image of every legal mode."""
    gray = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    sixteen = Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257)
    images = {
        "sixteen.png": sixteen, "rgba.png": gray.convert("RGBA"), "palette.png": gray.convert("P"),
        "cmyk.jpeg": gray.convert("CMYK"), "rgb.jpg": gray.convert("RGB"), "one.png": gray.convert("1"),
    }  # fmt: skip
    for name, image in images.items():
        image.save(folder / name)
    return [folder / name for name in images]


def test_bad_images_are_named_skipped_and_counted(bare: Any) -> None:
    folder = bare.folder / "xrays" / "train" / "NORMAL"
    add_legal_modes(folder)
    reasons = add_bad_images(folder)
    for _ in range(2):  # the second time from the cache
        outcome = bare("data", "check", "tiny.yaml")
        assert outcome.code == 0
        for name, reason in reasons.items():
            line = next(line for line in outcome.err.splitlines() if name in line)
            assert line.startswith(f"warning: skipped train/NORMAL/{name}: ") and reason in line
        assert "4 unreadable images were skipped; --strict makes that an error" in outcome.err
        assert "4 are unreadable" in outcome.out
    bare("data", "check", "tiny.yaml", "--strict").assert_refused("train/NORMAL/cut.jpeg: ", "replace")
    assert not bare.run.exists()


def test_hundreds_of_bad_images_do_not_fill_the_screen(bare: Any) -> None:
    folder = bare.folder / "xrays" / "train" / "NORMAL"
    for i in range(40):
        (folder / f"bad{i}.jpeg").write_text("no")
    outcome = bare("data", "check", "tiny.yaml")
    assert len(outcome.err.splitlines()) < 15
    assert "30 more" in outcome.err and "40 unreadable images were skipped" in outcome.err


# --- experiments that cannot become hardware


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": {"weight_bits": "float"}}, ["float layers, expected 1 to 8 bits", "`cxrflow train`"]),
        ({"train": {"batch_size": 500}}, ["batch_size is 500", "training images", "Choose a batch_size of at most"]),
        (
            {"network": {"hidden": [4096, 4096]}},
            ["weights have 68,173 Kbit", "memory for 6,512", "'network.hidden': [960, 960]."],
        ),
        ({"build": {"target_fps": 99_000_000}}, ["in which the DMA of pynq-z2", "'build.target_fps': 12500000."]),
    ],
)
def test_what_cannot_be_built_is_refused_before_training(bare: Any, changes: dict[str, Any], words: list[str]) -> None:
    bare(*("run", bare.experiment(**changes))).assert_refused(*words)
    assert not (bare.run / "train").exists()


def test_a_training_alone_warns_of_what_cannot_be_built(bare: Any) -> None:
    outcome = bare("train", bare.experiment(build={"target_fps": 99_000_000}))
    assert outcome.code == 0, outcome.err
    assert "trained all the same, but this network cannot be built: 1 cycles per image are less" in outcome.err
    assert (bare.run / "train").exists()


def test_a_missing_compiler_is_foretold_and_refused(finished: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    finished("simulate", "tiny.yaml", "--data", datasource(finished)).assert_refused(
        "g++, make, perl", "apt-get install"
    )
    assert not list((finished.run / "build" / "pynq-z2").glob("*sim*"))
    outcome = finished("run", "tiny.yaml", "--data", datasource(finished))
    assert "warning: simulation will need g++, make, perl; see `cxrflow doctor`" in outcome.err
    outcome.assert_refused("g++, make, perl")


def datasource(place: Any) -> str:
    return str(yaml.safe_load((place.run / "experiment.yaml").read_text())["data"]["source"])


# --- stages


@pytest.mark.parametrize("command", ["export", "build", "simulate", "synth", "package"])
def test_stages_out_of_order_name_the_one_to_run_first(bare: Any, command: str) -> None:
    bare(command, "tiny.yaml").assert_refused("runs/tiny/train is not there", "Run `cxrflow train` first")
    assert not bare.run.exists()


def test_nothing_is_done_twice_and_a_runs_own_experiment_gives_the_run_again(finished: Any) -> None:
    experiment = (finished.run / "experiment.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(experiment)["train"]["augment"]["enabled"] is True  # defaults are written out
    before = tree(finished.run)
    for file in ("tiny.yaml", "runs/tiny/experiment.yaml"):
        for stage in STAGES:
            outcome = finished(stage, file)
            assert outcome.code == 0 and f"{stage}: nothing changed" in outcome.err, outcome.err
    assert tree(finished.run) == before


def test_only_what_changed_is_run_again(finished: Any) -> None:
    changed = finished.experiment(build={"target_fps": 1000}, data={"source": datasource(finished)})
    finished("package", changed).assert_refused(
        "build/pynq-z2 was made for another experiment", "target_fps was 100000, now 1000"
    )
    outcome = finished("build", changed)
    assert outcome.code == 0 and "again, because config.target_fps was 100000, now 1000" in outcome.err
    assert "export: nothing changed" in finished("export", changed).err
    assert "package: nothing changed" not in finished("package", changed).err


def test_a_frame_rate_that_is_out_of_reach_is_refused(finished: Any) -> None:
    fast = finished.experiment(build={"target_fps": 10**12}, data={"source": datasource(finished)})
    finished("build", fast).assert_refused("0 cycles per image are less than the", "in which the DMA of pynq-z2 sends")


def test_a_run_on_other_xrays_is_not_mixed_up(finished: Any) -> None:
    """After `run --data X`, `export` without --data must not take the experiment's own source for X."""
    before = tree(finished.run)
    phantom = finished.experiment(data={"source": "phantom"})
    for command in ("export", "build", "simulate", "package"):
        finished(command, phantom).assert_refused(
            "data.source was", "now phantom", "Give runs/tiny/experiment.yaml (or the same --data)"
        )
    assert tree(finished.run) == before
    assert finished("export", phantom, "--data", datasource(finished)).code == 0


def test_xrays_that_changed_under_the_same_name_are_noticed(bare: Any) -> None:
    assert bare("train", "tiny.yaml").code == 0
    Image.new("L", (16, 16), 9).save(bare.folder / "xrays" / "test" / "NORMAL" / "more.png")
    bare("export", "tiny.yaml").assert_refused("was trained on other X-rays", "run `cxrflow train` again")
    outcome = bare("train", "tiny.yaml")
    assert outcome.code == 0 and "again, because data.content has changed" in outcome.err
    assert bare("export", "tiny.yaml").code == 0


def test_a_mismatch_keeps_what_was_made(finished: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_export: Path, out: Path, *_: Any) -> None:
        (out / "mismatch").mkdir(parents=True)
        np.save(out / "mismatch" / "got.npy", np.zeros(3))
        raise MismatchError(f"fold: 3 of 16 outputs differ; the tensors are in {out / 'mismatch'}.")

    monkeypatch.setattr("finn_build.build.build", fail)
    changed = finished.experiment(build={"target_fps": 1000}, data={"source": datasource(finished)})
    finished("build", changed).assert_refused("runs/tiny/build/pynq-z2.failed/mismatch", code=1)
    failed = finished.run / "build" / "pynq-z2.failed"
    assert (failed / "mismatch" / "got.npy").is_file() and "3 of 16 outputs" in (failed / "mismatch.txt").read_text()
    assert (finished.run / "build" / "pynq-z2" / "build.json").is_file()


def test_ctrl_c_outside_training_is_one_sentence(finished: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("finn_build.build.build", interrupt)
    changed = finished.experiment(build={"target_fps": 1000}, data={"source": datasource(finished)})
    before = (finished.run / "experiment.yaml").read_bytes()
    finished("build", changed).assert_refused("interrupted. Run the same command again", code=130)
    assert (finished.run / "experiment.yaml").read_bytes() == before
    assert (finished.run / "build" / "pynq-z2" / "build.json").is_file()


# --- files that are not what they were


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_malicious_checkpoint_is_not_executed(finished: Any) -> None:
    train, proof = finished.run / "train", finished.folder / "executed"
    for write in (
        lambda path: torch.save({"state": Bomb(proof)}, path),
        lambda path: path.write_bytes(pickle.dumps(Bomb(proof))),
    ):
        write(train / "checkpoint.pt")
        finished("export", "tiny.yaml").assert_refused("checkpoint.pt was changed", "Put it back, or delete")
        forge(train, "checkpoint.pt")
        finished("export", "tiny.yaml").assert_refused("checkpoint.pt", "was not executed", "Train again")
    assert not proof.exists()


@pytest.mark.parametrize(
    ("stage", "name", "command", "words"),
    [
        ("train", "checkpoint.pt", "export", ["checkpoint.pt is not a", "Train again"]),
        ("export", "model.onnx", "build", ["model.onnx is not a whole ONNX model", "Export the run again"]),
        ("export", "reference.npz", "build", ["reference.npz is not a whole .npz", "again"]),
        ("export", "golden.npz", "build", ["golden.npz is not a whole .npz", "again"]),
        ("export", "export.json", "package", ["export.json"]),
        ("build/pynq-z2", "build.json", "simulate", ["build.json is damaged", "run `cxrflow build` again"]),
    ],
)  # fmt: skip
def test_files_cut_short_or_gone(finished: Any, stage: str, name: str, command: str, words: list[str]) -> None:
    path = finished.run / stage / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    finished(command, "tiny.yaml").assert_refused(f"{name} was changed", "Put it back, or delete")
    forge(finished.run / stage, name)
    for later in ("export", "build/pynq-z2", "deploy/pynq-z2"):  # nothing else may be what refuses
        retarget(finished.run / later, f"{stage}/{name}", hash_file(path))
    finished(command, "tiny.yaml").assert_refused(*words)
    path.unlink()
    finished(command, "tiny.yaml").assert_refused(f"{name} is missing", "Put it back, or delete")


def retarget(stage: Path, name: str, digest: str) -> None:
    """Make a stage's stamp claim that it read another file; its key changes, so that it is run again."""
    stamp = json.loads((stage / "stage.json").read_text(encoding="utf-8"))
    if name in stamp["inputs"].get("reads", {}):
        stamp["inputs"]["reads"][name] = digest
        stamp["key"] = "0" * 64
        (stage / "stage.json").write_text(json.dumps(stamp), encoding="utf-8")


def test_a_checkpoint_of_another_network(finished: Any) -> None:
    other = finished.experiment("other.yaml", network={"hidden": [16]}, data={"source": datasource(finished)})
    finished("export", other).assert_refused("hidden was [8], now [16]", "start again with `cxrflow train`")


# --- processes


def wait_for(path: Path, pattern: str, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 600
    while not list(path.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("kill", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)], ids=["ctrl-c", "kill-9"])
def test_training_that_is_stopped_goes_on_where_it_was(bare: Any, kill: signal.Signals, code: int) -> None:
    bare.experiment(train={"epochs": 60})
    process = bare.start("train", "tiny.yaml")
    wait_for(bare.run, ".training/*/last.ckpt", process)
    process.send_signal(signal.SIGSTOP)  # it must not end while another process starts
    bare("train", "tiny.yaml").assert_refused("another cxrflow is working in runs/tiny")
    process.send_signal(kill)
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == code and "Traceback" not in err
    assert not (bare.run / "train").exists()
    if kill == signal.SIGINT:
        assert "error: training was interrupted; the best network so far is in runs/tiny/interrupted.pt" in err
        assert (bare.run / "interrupted.pt").is_file()
    done = len(next((bare.run / ".training").glob("*/history.csv")).read_text().splitlines()) - 1
    assert 0 < done < 60
    outcome = bare("train", "runs/tiny/experiment.yaml")  # which is there, beside what there is to go on from
    assert outcome.code == 0, outcome.err
    assert {path.name for path in bare.run.iterdir()} == {"experiment.yaml", "train", "figures"}
    assert len((bare.run / "train" / "history.csv").read_text().splitlines()) == 61


# --- everything


@pytest.mark.slow
def test_run_from_xrays_to_verified_rtl(bare: Any) -> None:
    bare.experiment(
        data={"source": "phantom"}, network={"height": 12, "width": 12}, train={"epochs": 2, "batch_size": 128}
    )
    process = bare.start("run", "tiny.yaml", "--wave", "first.fst", simulates=True)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert "fast_hadamard" not in err and "Warning" not in err and "…" not in out + err
    rows = [line.split() for line in out.splitlines()]
    images = next(int(row[1]) for row in rows if row[:1] == ["brevitas_float64"])
    assert images > 500
    chain = "brevitas_float64 qonnx_float64 streamline hardware_graph cpu_reference rtl rtl_with_random_stalls"
    for stage in chain.split():
        assert [stage, str(images), "0"] in rows
    assert any(row[:2] == ["MVAU_rtl_0", "*"] for row in rows) and "measured in simulation: " in out
    run, board = bare.run, "pynq-z2"
    for name in (
        "experiment.yaml", "train/checkpoint.pt", "train/metrics.json", "train/history.csv", "figures/roc.png",
        "export/model.onnx", "export/golden.npz", "export/export.json", f"build/{board}/folding.json",
        f"build/{board}/estimates.json", f"build/{board}/rtl/accelerator.v", f"sim/{board}/sim.json",
        f"build/{board}/build.json", f"deploy/{board}/accelerator.json", f"deploy/{board}/reference.npz",
        f"deploy/{board}/golden.npz", "report.html",
    ):  # fmt: skip
        assert (run / name).stat().st_size, name
    assert list((run / "build" / board / "steps").glob("*.onnx"))
    assert not [path for path in run.rglob("*") if path.name.endswith((".partial", ".old", ".failed"))]
    assert (bare.folder / "first.fst").stat().st_size > 1000
    manifest = json.loads((run / "deploy" / board / "accelerator.json").read_text(encoding="utf-8"))
    assert manifest["hardware"]["cycles_per_image"] > 0
    again = bare("run", "runs/tiny/experiment.yaml")
    assert [line.strip() for line in again.err.splitlines()] == [
        f"{stage}: nothing changed" for stage in ("train", "export", "build", "simulate", "package")
    ]


@pytest.mark.slow
def test_real_xrays_are_equal_integers_from_brevitas_to_rtl(bare: Any, real_xrays: Path) -> None:
    """All test images; of the training's, one in eight. tests/datasets/test_folder.py reads all of them."""
    for place in real_xrays.glob("*/*"):
        there = bare.folder / "real" / place.relative_to(real_xrays)
        there.mkdir(parents=True)
        for path in sorted(place.iterdir())[:: 8 if place.parent.name == "train" else 1]:
            (there / path.name).symlink_to(path)
    bare.experiment(
        network={"height": 28, "width": 28, "hidden": [64, 64], "weight_bits": 8, "act_bits": 8},
        train={"epochs": 3, "batch_size": 16},
    )
    outcome = bare("run", "tiny.yaml", "--data", "real")
    assert outcome.code == 0, outcome.err
    rows = [line.split() for line in outcome.out.splitlines()]
    for stage in ("brevitas_float64", "qonnx_float64", "hardware_graph", "cpu_reference", "rtl"):
        assert [stage, "624", "0"] in rows
    sim = json.loads((bare.run / "sim" / "pynq-z2" / "sim.json").read_text(encoding="utf-8"))
    assert abs(sim["initiation_interval"] - sim["estimated_interval"]) <= 1
    golden = np.load(bare.run / "export" / "golden.npz")
    threshold = json.loads((bare.run / "export" / "export.json").read_text(encoding="utf-8"))["threshold"]
    assert set(golden["outputs"][:, 0] > threshold) == {True, False}  # both classes of outcome


@pytest.mark.slow
def test_run_of_a_network_that_finn_has_no_rtl_for(bare: Any) -> None:
    bare.experiment(network={"weight_bits": 1, "act_bits": 1})
    outcome = bare("run", "tiny.yaml")
    assert outcome.code == 0, outcome.err
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["cpu_reference", "16", "0"] in rows and ["rtl_with_random_stalls", "16", "0"] in rows
    assert any(row[:2] == ["LutMVAU_rtl_0", "*"] for row in rows) and "measured in simulation: " in outcome.out
    manifest = json.loads((bare.run / "deploy" / "pynq-z2" / "accelerator.json").read_text(encoding="utf-8"))
    assert manifest["hardware"]["cycles_per_image"] > 0
