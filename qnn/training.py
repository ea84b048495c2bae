"""Train a network, reproducibly, and survive being stopped.

All randomness of an epoch comes from (seed, epoch) and nothing else, so a training that is killed and resumed gives
the weights of one that was not. Everything a resumed training needs, the best network so far included, is in one file
that is replaced after every epoch: there are no two files that could disagree.

The epoch that is kept is the one with the best mean of clean and augmented validation AUC, of K classes the macro AUC.
Clean validation alone says nothing about images from elsewhere.
"""

import contextlib
import csv
import hashlib
import json
import logging
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional

from contract.errors import ArtifactError, ConfigError, DataError
from contract.files import replacing
from contract.table import join_names
from datasets.xray import Split, XrayData
from qnn.augment import augment
from qnn.calibration import (
    Platt,
    Scaling,
    calibrate,
    class_operating_points,
    fit_platt,
    fit_scaling,
    operating_points,
)
from qnn.checkpoint import load_torch, save_torch
from qnn.class_metrics import ranking
from qnn.network import PREDICT_BATCH, PixelMLP, few_threads, predict_logits, snap_weights
from qnn.spec import Augmentation, NetworkSpec, TrainConfig
from qnn.teacher import Source, answering, check_source, check_topology, copy_weights, soft_loss

MONITOR_COPIES = 4  # augmented copies of the validation images that the monitor looks at
OPERATING_COPIES = 8  # and that calibration and operating points are chosen on; for the first, as many clean ones
VALIDATION_SEED = 0x0CA1  # of the augmented copies; the same for all trainings, so that their monitors compare
STATE_FILE = "last.ckpt"
RESUME_FORMAT = 2

Row = dict[str, float]  # one epoch of the history
HISTORY_FIELDS = ("epoch", "lr", "train_loss", "val_loss", "val_auc", "val_auc_aug", "monitor")


@dataclass(frozen=True)
class TrainResult:
    """What a training gives."""

    net: PixelMLP  # of the best epoch, weights snapped to their integers, logits calibrated, evaluation mode
    calibration: Platt | Scaling  # what was done to the logits
    # By rule: class 1 where the calibrated logit exceeds this [logit]. With K logits: `one_class` of the config where
    # its logit exceeds all others by more; none where the config names no class.
    operating_points: dict[str, float]
    operating_point: float  # the one that the config names; 0 with K logits
    history: tuple[Row, ...]  # one row per epoch, fields as in HISTORY_FIELDS
    best_epoch: int  # counted from 0
    interrupted: bool  # stopped with Ctrl-C; training again in the same folder goes on
    seconds: float  # spent in epochs, those before a resume included

    @property
    def best(self) -> Row:
        """The history's row of the best epoch."""
        return self.history[self.best_epoch]


def train(
    data: XrayData,
    spec: NetworkSpec,
    config: TrainConfig,
    *,
    workdir: Path,
    teacher: Source | None = None,
    initial: Source | None = None,
    progress: bool = True,
    on_epoch: Callable[[Row], None] | None = None,
) -> TrainResult:
    """Train a network on `data.train`; `data.val` chooses the epoch and the operating point; `data.test` is not used.

    Args:
        data: images of the spec's size.
        spec: the network.
        config: how to train.
        workdir: keeps the training's state under a name made from spec, config and data, so that calling again with the
            same three goes on where it stopped and calling with others disturbs nothing. Delete it when done.
        teacher: what `config.distill` names.
        initial: what `config.init_from` names.
        progress: whether to show a progress bar.
        on_epoch: called with the history's new row after every epoch; what it raises ends the training, and
            KeyboardInterrupt is taken as Ctrl-C.

    Returns:
        The result. After Ctrl-C it is the best so far, marked as interrupted.

    Raises:
        DataError: the images do not fit the spec, or a class is absent from a split.
        ConfigError: the training diverged, `teacher` or `initial` does not fit, or there is no such device.
        ArtifactError: the state in `workdir` is damaged.
        KeyboardInterrupt: Ctrl-C before the first epoch was complete.
    """
    _check_data(data, spec, config)
    check_sources(data, spec, config, teacher=teacher, initial=initial)
    training_device(config)
    folder = workdir / _identity(data, spec, config, teacher, initial)
    with few_threads(spec):
        trainee = _Trainee(
            data, spec, config, teacher=teacher, initial=initial, on_epoch=on_epoch, history_file=folder / "history.csv"
        )
        return _train(trainee, data, folder, progress=progress)


def training_device(config: TrainConfig) -> str:
    """Return where `config` trains: "cpu", or the name of a GPU.

    Raises:
        ConfigError: a GPU is asked for that PyTorch does not have.
    """
    there = torch.cuda.is_available()
    if config.device == "cuda" and not there:
        why = "sees no GPU" if torch.version.cuda else "is a build without CUDA"
        raise ConfigError(
            f"'train.device' is cuda, but PyTorch {torch.__version__} {why}. Install a CUDA build, or use auto or cpu."
        )
    return torch.cuda.get_device_name() if there and config.device != "cpu" else "cpu"


def check_sources(
    data: XrayData, spec: NetworkSpec, config: TrainConfig, *, teacher: Source | None, initial: Source | None
) -> None:
    """Stop unless the sources that `config` names are given, and were trained on the same images of the same size."""
    assert (teacher is None) == (config.distill is None) and (initial is None) == (config.init_from is None)
    for field, source in (("train.distill.teacher", teacher), ("train.init_from", initial)):
        if source is not None:
            check_source(source, field, spec, data)
    if initial is not None:
        check_topology(initial, spec)


def _train(trainee: "_Trainee", data: XrayData, folder: Path, *, progress: bool) -> TrainResult:
    state_file = folder / STATE_FILE
    if state_file.exists():
        trainee.restore(load_torch(state_file, advice=f"Delete {folder} to train from the start."))
    interrupted = False
    if not trainee.is_finished():
        interrupted = _fit(trainee, folder, resume=bool(trainee.history), progress=progress)
    return _to_result(trainee, data, interrupted=interrupted)


def augmented_validation(
    split: Split, config: Augmentation, *, copies: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return `copies` augmented copies of a split, (copies * N, H, W) and their labels; the same on every call."""
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    pixels = torch.from_numpy(split.pixels)
    changed = [augment(pixels, config, generator) if config.enabled else pixels for _ in range(copies)]
    return torch.cat(changed).to(torch.uint8).numpy(), np.tile(split.labels, copies)


def mixed_validation(split: Split, config: Augmentation) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return clean and augmented copies, as many of each, (2 * OPERATING_COPIES * N, H, W), and their labels.

    Calibration is fitted on these: like the monitor, it weighs clean and augmented images equally.
    """
    pixels, labels = augmented_validation(split, config, copies=OPERATING_COPIES)
    return np.concatenate([np.tile(split.pixels, (OPERATING_COPIES, 1, 1)), pixels]), np.tile(labels, 2)


def hard_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the mean weighted loss of logits (N,), or (N, K), against labels (N,); weights are (N,)."""
    if logits.ndim == 2:
        return (functional.cross_entropy(logits, labels, reduction="none") * weights).mean()
    return functional.binary_cross_entropy_with_logits(logits, labels.to(logits), weight=weights)


class _Trainee(pl.LightningModule):
    """The network with its data, losses, schedule and history.

    A "batch" that Lightning hands to `training_step` is only its number: the images of an epoch are permutations of one
    tensor, so there is no per-image Python and no loader state to resume.
    """

    def __init__(
        self,
        data: XrayData,
        spec: NetworkSpec,
        config: TrainConfig,
        *,
        teacher: Source | None,
        initial: Source | None,
        on_epoch: Callable[[Row], None] | None,
        history_file: Path,
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.net = PixelMLP(spec)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolutions are fastest in it
        if initial is not None:
            copy_weights(initial.net, self.net)
        # In a tuple, because a module's modules are trained and saved with it.
        self.teacher: tuple[PixelMLP, ...] = () if teacher is None else (answering(teacher.net),)
        self.config = config
        self.on_epoch = on_epoch
        self.history_file = history_file
        self.history: list[Row] = []
        self.best_state: dict[str, Tensor] = {}
        self.best_epoch = -1
        self.seconds = 0.0

        # Buffers follow the network to where it trains.
        self._keep("pixels", torch.from_numpy(data.train.pixels))  # (N, H, W) uint8
        classes = spec.classes
        self._keep("labels", torch.from_numpy(data.train.labels))
        counts = torch.bincount(self.labels, minlength=classes)
        weight = len(self.labels) / (classes * counts) if config.class_balance else torch.ones(classes)
        self._keep("weights", weight.to(torch.float32)[self.labels])  # (N,), of the losses
        # The rest waits for another epoch's shuffle.
        self.batches = config.passes * len(self.labels) // config.batch_size

        aug_pixels, self.val_aug_labels = augmented_validation(
            data.val, config.validation_augment, copies=MONITOR_COPIES
        )
        self.val_labels = data.val.labels
        for name, pixels in (("val_pixels", data.val.pixels), ("val_aug_pixels", aug_pixels)):
            self._keep(name, torch.from_numpy(pixels).flatten(1).float())
        # Validation weighs the classes like training does, by its own counts.
        val_counts = np.bincount(data.val.labels, minlength=classes)
        val_weight = len(data.val.labels) / (classes * val_counts) if config.class_balance else np.ones(classes)
        self._keep("val_weights", torch.from_numpy(val_weight[data.val.labels]).float())

    def _keep(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor, persistent=False)

    def on_fit_start(self) -> None:
        """Take the teacher along to where the network trains."""
        for teacher in self.teacher:
            teacher.to(self.device)

    def is_finished(self) -> bool:
        """Whether all epochs are done or patience ran out."""
        done, patience = len(self.history), self.config.patience
        return done >= self.config.epochs or (patience is not None and done - 1 - self.best_epoch >= patience)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW without decay of the batch norms, and a one-cycle schedule by step."""
        norms = [p for m in self.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for p in m.parameters()]
        in_norms = {id(p) for p in norms}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters() if id(p) not in in_norms]},
            {"params": norms, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.config.lr, weight_decay=self.config.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.config.lr,
            total_steps=self.config.epochs * self.batches,
            pct_start=self.config.pct_start,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Draw the epoch's order; everything random in the epoch follows from (seed, epoch)."""
        self.started = time.monotonic()
        seed = np.random.SeedSequence([self.config.seed, self.current_epoch]).generate_state(1, np.uint64)[0]
        self.generator = torch.Generator().manual_seed(int(seed >> np.uint64(1)))
        shuffles = [torch.randperm(len(self.labels), generator=self.generator) for _ in range(self.config.passes)]
        self.order = torch.cat(shuffles).to(self.device)
        self.losses: list[Tensor] = []

    def training_step(self, batch: int) -> Tensor:
        """Return the loss of batch number `batch`."""
        rows = self.order[batch * self.config.batch_size : (batch + 1) * self.config.batch_size]
        images = self.pixels[rows]
        x = augment(images, self.config.augment, self.generator) if self.config.augment.enabled else images.float()
        loss = self._loss(x.flatten(1), rows)
        self.losses.append(loss.detach())
        return loss

    def _loss(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of images (N, H*W) that are changed copies of the training images `rows`."""
        weights, distill = self.weights[rows], self.config.distill
        if self.config.precision == "bfloat16":
            with torch.autocast(x.device.type, torch.bfloat16):
                logits = self.net(x).float()
        else:
            logits = self.net(x)
        hard = hard_loss(logits, self.labels[rows], weights)
        if distill is None:
            return hard
        with torch.no_grad():
            answers = self.teacher[0](x)
        soft = soft_loss(logits, answers, weights, temperature=distill.temperature)
        return (1 - distill.weight) * hard + distill.weight * soft

    def on_train_epoch_end(self) -> None:
        """Validate, remember the best network, and extend the history."""
        train_loss = float(torch.stack(self.losses).mean())
        if not np.isfinite(train_loss):
            raise ConfigError(
                f"the training loss of epoch {self.current_epoch} is {train_loss}, so the training diverged. "
                f"Choose an lr below {self.config.lr:g}."
            )
        row: Row = {"epoch": self.current_epoch, "lr": float(self.lr_schedulers().get_last_lr()[0])}  # type: ignore[union-attr]
        row |= {"train_loss": train_loss, **self._validate()}
        self.history.append(row)
        if self.best_epoch < 0 or row["monitor"] > self.history[self.best_epoch]["monitor"]:
            self.best_epoch = len(self.history) - 1
            self.best_state = {name: t.detach().cpu().clone() for name, t in self.net.state_dict().items()}
        self.log("monitor", row["monitor"])  # what EarlyStopping reads
        self.seconds += time.monotonic() - self.started
        write_history(self.history_file, self.history)
        if self.on_epoch is not None:
            self.on_epoch(row)

    def _validate(self) -> Row:
        self.net.eval()
        with torch.no_grad():
            logits, logits_aug = self._answers(self.val_pixels), self._answers(self.val_aug_pixels)
            labels = torch.from_numpy(self.val_labels).to(logits.device)
            loss = hard_loss(logits, labels, self.val_weights)
        self.net.train()
        clean = ranking(logits.cpu().numpy(), self.val_labels)
        augmented = ranking(logits_aug.cpu().numpy(), self.val_aug_labels)
        return {
            "val_loss": float(loss),
            "val_auc": clean,
            "val_auc_aug": augmented,
            "monitor": (clean + augmented) / 2,
        }

    def _answers(self, pixels: Tensor) -> Tensor:
        batch = PREDICT_BATCH if self.net.spec.convolutions else len(pixels)  # images between layers take memory
        return torch.cat([self.net(some) for some in pixels.split(batch)])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of to its checkpoint."""
        checkpoint["cxrflow"] = {
            "format": RESUME_FORMAT,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_state": self.best_state,
            "seconds": self.seconds,
        }

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Take back what `on_save_checkpoint` added; Lightning restores the rest."""
        ours = checkpoint.get("cxrflow")
        if not isinstance(ours, dict) or ours.get("format") != RESUME_FORMAT:
            raise ArtifactError(
                f"{self.history_file.with_name(STATE_FILE)} was not written by this version's training, expected "
                f"format {RESUME_FORMAT}. Delete {self.history_file.parent} to train from the start."
            )
        self.history, self.best_epoch = list(ours["history"]), ours["best_epoch"]
        self.best_state, self.seconds = ours["best_state"], ours["seconds"]


class _AtomicIO(TorchCheckpointIO):
    """Lightning writes through the system's temporary folder, which is a copy and not a rename on another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write whole or not at all."""
        save_torch(Path(path), checkpoint)


class _EpochBar(Callback):
    """One line for the whole training. Lightning's own bars are of steps, and begin anew with every short epoch."""

    def __init__(self, epochs: int, done: int) -> None:
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            transient=True,
        )
        self.task: TaskID = self.bar.add_task("", total=epochs, completed=done, status=f"epoch {done}/{epochs}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        self.bar.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Advance. Lightning calls callbacks before the module, so the figures shown are of the epoch before."""
        history, best = pl_module.history, pl_module.best_epoch
        status = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        if history:
            status += f"  val AUC {history[-1]['monitor']:.4f} (best {history[best]['monitor']:.4f})"
        self.bar.update(self.task, advance=1, status=status)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remove the bar."""
        self.bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Remove the bar after an error, where `teardown` is not called."""
        self.bar.stop()


def _fit(trainee: _Trainee, folder: Path, *, resume: bool, progress: bool) -> bool:
    """Run Lightning until the end; return whether Ctrl-C came before it."""
    config = trainee.config
    callbacks: list[Callback] = [
        ModelCheckpoint(folder, filename=Path(STATE_FILE).stem, save_top_k=1, enable_version_counter=False)
    ]
    if config.patience is not None:
        callbacks.append(EarlyStopping("monitor", mode="max", patience=config.patience))
    if progress:
        callbacks.append(_EpochBar(config.epochs, len(trainee.history)))
    folder.mkdir(parents=True, exist_ok=True)
    with _quiet():
        trainer = pl.Trainer(
            accelerator="cpu" if training_device(config) == "cpu" else "gpu",
            devices=1,
            max_epochs=config.epochs,
            callbacks=callbacks,
            plugins=[_AtomicIO()],
            default_root_dir=folder,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(
                trainee,
                train_dataloaders=range(trainee.batches),
                ckpt_path=folder / STATE_FILE if resume else None,
                weights_only=True,
            )
        except SIGTERMException:
            # Lightning stops at the end of the step, with a SystemExit that means success.
            raise SystemExit(128 + signal.SIGTERM) from None
        except SystemExit as err:
            # Lightning answers Ctrl-C by ignoring further ones, which it undoes only once its own handlers were set up,
            # and by leaving the program.
            signal.signal(signal.SIGINT, handler)
            if not isinstance(err.__context__, KeyboardInterrupt):
                raise
            if not trainee.best_state:
                raise KeyboardInterrupt from None
            return not trainee.is_finished()
    return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's banners and advice out of the terminal; they are about clusters and loaders we do not use."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _to_result(trainee: _Trainee, data: XrayData, *, interrupted: bool) -> TrainResult:
    net = PixelMLP(trainee.net.spec)
    net.load_state_dict(trainee.best_state)
    net.eval()
    snap_weights(net)
    config = trainee.config
    pixels, labels = mixed_validation(data.val, config.validation_augment)
    logits, points = predict_logits(net, pixels), dict[str, float]()
    fit = fit_platt(logits, labels) if logits.ndim == 1 else fit_scaling(logits, labels)
    calibrate(net, fit)
    pixels, labels = augmented_validation(data.val, config.validation_augment, copies=OPERATING_COPIES)
    if logits.ndim == 1:
        points = operating_points(predict_logits(net, pixels), labels)
    elif config.one_class is not None:
        label = data.class_names.index(config.one_class)
        points = class_operating_points(predict_logits(net, pixels), labels, label)
    return TrainResult(
        net=net,
        calibration=fit,
        operating_points=points,
        operating_point=points[config.operating_point] if logits.ndim == 1 else 0.0,
        history=tuple(trainee.history),
        best_epoch=trainee.best_epoch,
        interrupted=interrupted,
        seconds=trainee.seconds,
    )


def write_history(path: Path, history: Sequence[Row]) -> None:
    """Write the rows as CSV, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, HISTORY_FIELDS)
        writer.writeheader()
        writer.writerows(history)


def _identity(
    data: XrayData, spec: NetworkSpec, config: TrainConfig, teacher: Source | None, initial: Source | None
) -> str:
    """Return a short name for this training: equal for equal spec, config, data and sources."""
    parts: list[Any] = [RESUME_FORMAT, spec.model_dump(mode="json"), config.model_dump(mode="json"), data.fingerprint]
    parts += [None if source is None else source.sha256 for source in (teacher, initial)]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    for split in (data.train, data.val):  # the fingerprint does not know how the images were split and resized
        for array in (split.pixels, split.labels):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _check_data(data: XrayData, spec: NetworkSpec, config: TrainConfig) -> None:
    if len(data.class_names) != spec.classes:
        raise DataError(
            f"the data set has {len(data.class_names)} classes, {join_names(data.class_names)[:200]}, but the network "
            f"tells {spec.classes} apart. Give 'data.classes' the classes of the data set."
        )
    if (conflict := config.conflict(spec.outputs, data.class_names)) is not None:
        raise ConfigError(conflict)
    for name, split in (("train", data.train), ("val", data.val)):
        if split.pixels.dtype != np.uint8 or split.pixels.shape[1:] != (spec.height, spec.width):
            raise DataError(
                f"the {name} images are {split.pixels.dtype}{split.pixels.shape}, but the network takes uint8 "
                f"(N, {spec.height}, {spec.width}). Load the data set with the network's height and width."
            )
        found, wanted = np.unique(split.labels).tolist(), list(range(spec.classes))
        if found != wanted:
            every = "both 0 and 1" if spec.classes == 2 else f"all of 0 to {wanted[-1]}"
            raise DataError(
                f"the {name} split has the labels {found}, expected {every}. "
                "Give more images of the absent class, or a larger validation fraction."
            )
    if len(data.train.labels) < config.batch_size:
        raise ConfigError(
            f"batch_size is {config.batch_size}, but there are only {len(data.train.labels)} training images. "
            f"Choose a batch_size of at most {len(data.train.labels)}."
        )
