"""What a training step costs, and how much of it is augmentation. Prints one line per shipped network.

python -m benchmarks.training            # on synthetic X-rays; one thread, like the training of these networks

Times are processor time, so that other programs on the machine matter little. A step is an epoch's time divided by its
batches, validation included.
"""

import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from cxrflow.experiment import load_experiment
from datasets.phantom import make_phantoms
from qnn.augment import augment
from qnn.spec import Augmentation
from qnn.training import Row, train

EPOCHS = 4
NAMES = ("w8a8", "w8a8-large", "w1a1")


def augmentation_ms(pixels: torch.Tensor, config: Augmentation, batch: int) -> float:
    """Return the median time of augmenting one batch [ms]."""
    generator, times = torch.Generator().manual_seed(0), []
    for _ in range(100):
        start = time.process_time()
        augment(pixels[:batch], config, generator)
        times.append(time.process_time() - start)
    return 1e3 * sorted(times)[len(times) // 2]


def _stamp(ends: list[float], _: Row) -> None:
    ends.append(time.process_time())


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    folder = Path(__file__).parent.parent / "experiments"
    data = make_phantoms(height=28, width=28, val_fraction=0.125, seed=0)
    pixels = torch.from_numpy(data.train.pixels)
    print("| experiment | step [ms] | of it augmentation [ms] | share |\n| --- | --- | --- | --- |")
    for name in NAMES:
        experiment = load_experiment(folder / f"{name}.yaml")
        config = experiment.train.model_copy(update={"epochs": EPOCHS, "init_from": None})
        ends: list[float] = []
        with tempfile.TemporaryDirectory() as workdir:
            train(
                data, experiment.network, config, workdir=Path(workdir), progress=False, on_epoch=partial(_stamp, ends)
            )
        steps = len(pixels) // config.batch_size
        step = 1e3 * (ends[-1] - ends[0]) / (len(ends) - 1) / steps
        part = augmentation_ms(pixels, config.augment, config.batch_size)
        print(f"| {name} | {step:.2f} | {part:.2f} | {part / step:.0%} |")


if __name__ == "__main__":
    main()
