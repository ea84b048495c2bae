"""A trained network in other widths without training: its weights stay, and are rounded to other integers.

Other integers have other sums, and a sign has another mean than a ReLU. So the batch norms' means and variances are
measured anew, on the training images as the training changes them; no gain, shift or weight is touched.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from datasets.xray import Split
from qnn.augment import augment
from qnn.network import PixelMLP
from qnn.spec import Augmentation, NetworkSpec
from qnn.teacher import copy_weights

BATCH = 1024  # images; bounds memory
SEED = 0x51DE  # of the changed images; the same for all widths, so that they compare


def in_widths(net: PixelMLP, spec: NetworkSpec, images: Split, config: Augmentation) -> PixelMLP:
    """Return the network of `spec` with the weights of `net`, in evaluation mode.

    Args:
        net: trained.
        spec: of the same layer sizes, in any widths.
        images: training images, two at least.
        config: how the training changes them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        changed = PixelMLP(spec)
    copy_weights(net, changed)
    norms = [module for module in changed.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches, not of the last ones
    generator = torch.Generator().manual_seed(SEED)
    batches = torch.from_numpy(images.pixels).chunk(max(1, len(images) // BATCH))
    changed.train()
    with torch.no_grad(), _one_thread():
        for batch in batches:
            pixels = augment(batch, config, generator) if config.enabled else batch.float()
            changed(pixels.flatten(1))
    return changed.eval()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sum in one order, so that the integers do not depend on how many threads a process has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
