import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import qnn.training
from contract.drawing import ENDINGS
from contract.errors import ArtifactError, ConfigError, DataError
from datasets.xray import Split, XrayData, make_report
from qnn.augment import augment
from qnn.checkpoint import load_checkpoint
from qnn.drawn import draw_training
from qnn.records import read_history
from qnn.results import finish
from qnn.spec import Augmentation, NetworkSpec, TrainConfig, ValidationAugmentation
from qnn.training import HISTORY_FIELDS, Row, TrainResult, mixed_validation, train

SPEC = NetworkSpec(height=8, width=8, hidden=(8,), weight_bits=4, act_bits=4)
MILD = Augmentation(shift=0.05, brightness=10)
CONFIG = TrainConfig(
    epochs=8, batch_size=32, lr=0.02, augment=MILD, validation_augment=ValidationAugmentation(**MILD.model_dump())
)


def make_split(n: int, seed: int) -> Split:
    """Class 1 is brighter in its upper half; separable, also when augmented."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3 % 2  # unbalanced: a third is class 1
    pixels = rng.integers(60, 120, (n, 8, 8))
    pixels[labels == 1, :4] += 100
    names = tuple(f"person{i}.jpeg" for i in range(n))
    return Split(pixels.astype(np.uint8), labels.astype(np.int64), np.arange(n) + 1000 * seed, names)


def make_data() -> XrayData:
    train_split, val, test = make_split(200, 1), make_split(60, 2), make_split(50, 3)
    return XrayData(train_split, val, test, "f" * 64, "stripes", make_report(train_split, val, test))


DATA = make_data()


def run(workdir: Path, config: TrainConfig = CONFIG, on_epoch: Callable[[Row], None] | None = None) -> TrainResult:
    return train(DATA, SPEC, config, workdir=workdir, progress=False, on_epoch=on_epoch)


def assert_same(a: TrainResult, b: TrainResult) -> None:
    states = a.net.state_dict(), b.net.state_dict()
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    assert a.history == b.history
    assert (a.best_epoch, a.operating_point) == (b.best_epoch, b.operating_point)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """A training that nobody disturbed."""
    return run(tmp_path_factory.mktemp("whole"))


def test_learns_what_can_be_learned(whole: TrainResult, tmp_path: Path) -> None:
    assert whole.best["monitor"] > 0.999 and not whole.interrupted and len(whole.history) == CONFIG.epochs
    metrics = finish(whole, DATA, SPEC, CONFIG, tmp_path, made_from={"code": "c0de"})
    assert metrics["test"]["accuracy"] == 1


def test_same_seed_same_weights_other_seed_other_weights(whole: TrainResult, tmp_path: Path) -> None:
    torch.rand(17)  # the global generator's state must not matter
    assert_same(run(tmp_path), whole)
    other = run(tmp_path, CONFIG.model_copy(update={"seed": 1}))  # the same folder: no mix-up
    assert not torch.equal(other.net.blocks[0].linear.weight, whole.net.blocks[0].linear.weight)


def test_ctrl_c_keeps_the_best_and_resuming_equals_never_stopping(whole: TrainResult, tmp_path: Path) -> None:
    def stop_after(epoch: int) -> Callable[[Row], None]:
        def on_epoch(row: Row) -> None:
            if row["epoch"] == epoch:
                raise KeyboardInterrupt

        return on_epoch

    handler = signal.getsignal(signal.SIGINT)
    for epoch in (2, 3):  # stopped, resumed, stopped again
        stopped = run(tmp_path, on_epoch=stop_after(epoch))
        assert stopped.interrupted and stopped.history == whole.history[: epoch + 1]
        assert signal.getsignal(signal.SIGINT) is handler  # Lightning would leave Ctrl-C ignored
    resumed_epochs: list[float] = []
    resumed = run(tmp_path, on_epoch=lambda row: resumed_epochs.append(row["epoch"]))
    assert resumed_epochs[0] <= 3 and resumed_epochs[-1] == CONFIG.epochs - 1  # went on, did not start over
    assert resumed_epochs[0] > 0 and not resumed.interrupted
    assert_same(resumed, whole)


def test_ctrl_c_in_the_middle_of_an_epoch(whole: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def interrupted_augment(*args: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 30:  # 6 steps per epoch, plus the validation copies
            raise KeyboardInterrupt
        return augment(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(qnn.training, "augment", interrupted_augment)
        stopped = run(tmp_path)
    assert stopped.interrupted and 0 < len(stopped.history) < CONFIG.epochs
    assert_same(run(tmp_path), whole)


def test_being_terminated_is_no_success_and_can_be_resumed(whole: TrainResult, tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGTERM)

    def terminate(row: Row) -> None:
        if row["epoch"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, on_epoch=terminate)
    assert stopped.value.code == 128 + signal.SIGTERM and signal.getsignal(signal.SIGTERM) is handler
    assert_same(run(tmp_path), whole)


def test_ctrl_c_before_anything_was_learned_is_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_step(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(qnn.training._Trainee, "training_step", no_step)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)


def test_an_error_is_passed_on_and_the_training_can_go_on(whole: TrainResult, tmp_path: Path) -> None:
    def fail(row: Row) -> None:
        if row["epoch"] == 4:
            raise ValueError("pruned")

    with pytest.raises(ValueError, match="pruned"):
        run(tmp_path, on_epoch=fail)
    assert_same(run(tmp_path), whole)


def test_a_finished_training_is_not_repeated(whole: TrainResult, tmp_path: Path) -> None:
    def fail(row: Row) -> None:
        raise AssertionError("trained again")

    run(tmp_path)
    assert_same(run(tmp_path, on_epoch=fail), whole)


def test_an_epoch_is_as_many_passes_as_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(images: torch.Tensor, *args: object) -> torch.Tensor:
        if len(images) == 25:  # no validation
            seen.extend(images.flatten(1).sum(dim=1, dtype=torch.int64).tolist())
        return images.float()

    validation = mixed_validation(DATA.val, MILD)
    np.testing.assert_array_equal(validation[0][: len(DATA.val)], DATA.val.pixels)
    assert len(validation[0]) == len(validation[1]) == 16 * len(DATA.val)
    monkeypatch.setattr(qnn.training, "augment", counted)
    result = run(tmp_path, CONFIG.model_copy(update={"epochs": 1, "passes": 4, "batch_size": 25}))
    assert len(result.history) == 1
    every = DATA.train.pixels.reshape(200, -1).sum(axis=1, dtype=np.int64)
    assert sorted(seen) == sorted(np.tile(every, 4).tolist())


def test_patience_stops_early_and_stays_stopped(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 40, "patience": 2})
    stopped = run(tmp_path, config)
    assert len(stopped.history) == stopped.best_epoch + 3 < 40
    assert_same(run(tmp_path, config), stopped)


def test_a_damaged_state_is_refused_with_advice(tmp_path: Path) -> None:
    run(tmp_path, CONFIG.model_copy(update={"epochs": 1}))
    (state,) = tmp_path.glob("*/last.ckpt")
    state.write_bytes(state.read_bytes()[:-200])
    with pytest.raises(ArtifactError, match=r"last\.ckpt is not .*Delete .* to train from the start"):
        run(tmp_path, CONFIG.model_copy(update={"epochs": 1}))


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"the train images are uint8\(200, 8, 8\), but the network takes .*\(N, 28, 28\)"
    ):
        train(DATA, NetworkSpec(), CONFIG, workdir=tmp_path, progress=False)
    with pytest.raises(ConfigError, match=r"batch_size is 500, but there are only 200.*at most 200"):
        run(tmp_path, CONFIG.model_copy(update={"batch_size": 500}))
    one_class = DATA.val.take(DATA.val.labels == 0)
    with pytest.raises(DataError, match=r"the val split has the labels \[0\], expected both"):
        train(
            XrayData(DATA.train, one_class, DATA.test, "", "", DATA.report),
            SPEC,
            CONFIG,
            workdir=tmp_path,
            progress=False,
        )
    assert not list(tmp_path.iterdir())


def test_a_diverged_training_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qnn.training, "augment", lambda images, *_: images.float() * torch.nan)
    monkeypatch.setattr(qnn.training, "augmented_validation", lambda split, *_, copies: (split.pixels, split.labels))
    with pytest.raises(ConfigError, match=r"the training loss of epoch 0 is nan.*Choose an lr below 0\.02"):
        run(tmp_path)


def test_finish_writes_everything(whole: TrainResult, tmp_path: Path) -> None:
    metrics = finish(whole, DATA, SPEC, CONFIG, tmp_path, made_from={"code": "c0de"})
    assert json.loads((tmp_path / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    assert metrics["note"] == "Research use only, not a medical device"
    assert metrics["counts"]["test"] == {"NORMAL": 33, "PNEUMONIA": 17, "images": 50, "patients": 50}
    assert {"torch", "brevitas", "lightning"} <= set(metrics["versions"])
    read = load_checkpoint(tmp_path / "checkpoint.pt", expected=SPEC)
    assert (read.operating_point, read.fingerprint) == (whole.operating_point, DATA.fingerprint)
    with (tmp_path / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == HISTORY_FIELDS and len(rows) == CONFIG.epochs
    assert [float(row["monitor"]) for row in rows] == [row["monitor"] for row in whole.history]
    history = read_history(tmp_path / "history.csv")
    for name, content in (("figures", metrics), ("untested", metrics | {"test": None})):
        draw_training(read.net, DATA, CONFIG, content, history, tmp_path / name)
    pictures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    names = ["confusion", "history", "mistakes", "reliability", "roc"]
    assert pictures == [f"{name}{ending}" for name in names for ending in sorted(ENDINGS)]
    assert {path.name for path in (tmp_path / "untested").iterdir()} == {f"history{ending}" for ending in ENDINGS}
    for path in tmp_path.rglob("*"):  # file names of X-rays carry patient numbers
        assert path.is_dir() or b"person" not in path.read_bytes()
