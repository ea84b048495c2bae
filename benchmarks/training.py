"""What a training step costs, and how much of it is augmentation. Prints one line per shipped network.

Of convolutional ones, with float32 in place of bfloat16, and with Brevitas' own activations, too.

python -m benchmarks.training [DATA]     # on synthetic X-rays, or on yours; one thread, like these trainings

Times are processor time, so that other programs on the machine matter less. A step is an epoch's time divided by its
batches, validation included; the whole training is that time for all epochs, without decoding and the final metrics.
Where MONAI is installed (`pip install --no-deps monai`), the same kinds of changes are timed with it as well.
"""

import contextlib
import functools
import math
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import brevitas.nn
import torch

from cxrflow.console import Console
from cxrflow.experiment import DataConfig, load_experiment
from cxrflow.stages import load_source
from qnn.augment import augment
from qnn.network import PixelMLP, TrainedReLU
from qnn.spec import Augmentation
from qnn.teacher import Source, split_fingerprint
from qnn.training import Row, train

EPOCHS = 4
NAMES = (
    "w8a8",
    "w8a8-large",
    "w1a1-start",
    "w1a1",
    "cnn-start",
    "cnn-start, float32",
    "cnn-w4a4",
    "cnn-w4a4, Brevitas",
)


def augmentation_ms(pixels: torch.Tensor, config: Augmentation, batch: int) -> float:
    """Return the median time of augmenting one batch [ms]."""
    generator = torch.Generator().manual_seed(0)
    return _median_ms(lambda: augment(pixels[:batch], config, generator), 100)


def monai_ms(pixels: torch.Tensor, config: Augmentation, batch: int) -> float | None:
    """Return the same of MONAI's transforms, which take an image at a time; None without MONAI."""
    try:
        from monai import transforms
    except ImportError:
        return None
    change = transforms.Compose(
        [
            transforms.RandAffine(
                prob=1,
                rotate_range=math.radians(config.rotation_deg),
                scale_range=config.scale,
                shear_range=config.shear,
                translate_range=config.shift * pixels.shape[1] / 2,
                padding_mode="border",
            ),
            transforms.RandAdjustContrast(prob=1, gamma=(math.exp(-config.gamma), math.exp(config.gamma))),
            transforms.RandScaleIntensity(prob=1, factors=math.expm1(config.contrast)),
            transforms.RandShiftIntensity(prob=1, offsets=config.brightness),
        ]
    )
    return _median_ms(lambda: [change(image[None].float()) for image in pixels[:batch]], 5)


def _median_ms(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1e3 * sorted(times)[len(times) // 2]


def _stamp(ends: list[float], _: Row) -> None:
    ends.append(time.process_time())


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    folder = Path(__file__).parent.parent / "experiments"
    config = DataConfig(source=Path(sys.argv[1])) if len(sys.argv) > 1 else DataConfig()
    load = functools.cache(partial(load_source, config, cache=Path("runs/.cache"), console=Console()))
    print("| experiment | step [ms] | of it augmentation [ms] | share | whole training [s] |")
    print("| --- | --- | --- | --- | --- |")
    for name in NAMES:
        file, _, way = name.partition(", ")
        experiment = load_experiment(folder / f"{file}.yaml")
        data = load(height=experiment.network.height, width=experiment.network.width)
        pixels = torch.from_numpy(data.train.pixels)
        # An untrained teacher costs as much as a trained one.
        floats = experiment.network.model_copy(update={"weight_bits": "float", "act_bits": "float"})
        teacher = Source(PixelMLP(floats).eval(), split_fingerprint(data), "untrained", "", data.class_names)
        precision = {"precision": "float32"} if way == "float32" else {}
        train_config = experiment.train.model_copy(update={"epochs": EPOCHS, "init_from": None, **precision})
        ends: list[float] = []
        plain = mock.patch.object(TrainedReLU, "forward", brevitas.nn.QuantReLU.forward)
        with tempfile.TemporaryDirectory() as workdir, plain if way == "Brevitas" else contextlib.nullcontext():
            train(
                data,
                experiment.network,
                train_config,
                workdir=Path(workdir),
                teacher=teacher if train_config.distill else None,
                progress=False,
                on_epoch=partial(_stamp, ends),
            )
        epoch = (ends[-1] - ends[0]) / (len(ends) - 1)
        step = 1e3 * epoch / (train_config.passes * len(pixels) // train_config.batch_size)
        part = augmentation_ms(pixels, train_config.augment, train_config.batch_size)
        whole = epoch * experiment.train.epochs
        print(f"| {name} | {step:.2f} | {part:.2f} | {part / step:.0%} | {whole:.0f} |")
    peer = monai_ms(pixels, train_config.augment, train_config.batch_size)
    if peer is not None:
        print(f"MONAI takes {peer:.0f} ms for the last one's augmentation, {peer / part:.0f} times as long")


if __name__ == "__main__":
    main()
