"""What the occlusion map is worth: the checks that the literature asks of an explanation; and what it costs.

python -m benchmarks.explanation runs/demo               # a finished run on synthetic X-rays
python -m benchmarks.explanation runs/w8a8-seed0 --data path/to/chest_xray

Every map is of a test image of class 1 that the network calls class 1, computed by the integer CPU reference, which
gives the same integers as the accelerator. Correlations are Spearman's, over the pixels of an image or the windows of
its map; printed are their mean and standard deviation over images.

- random: the same network untrained, five times: random weights, with batch norm fitted to the training images so that
  it computes something. A map that does not depend on what was learnt would correlate.
- planted (synthetic X-rays only): how often the map's peak is where an opacity was planted, which is where it brightens
  the image by at least a quarter of its own maximum. Chance is the share of such pixels.
- integrated gradients: Captum's, of the Brevitas network, against two baselines: a black image, and the mirrored image
  that also fills our windows. Windows are compared with the sum of the gradients in them.
- GradCAM (convolutional networks only): Captum's, of what the last convolution gives, with what speaks against the
  class, too, made as large as the image.

- time: of explaining one image on an opened device, median; and of opening it, golden images compared.

Size, stride and fill of the windows were chosen on phantoms of seed 1, which no run of the repository is measured on.
Sources: see driver/explain.py; Zhang et al., "Top-down Neural Attention by Excitation Backprop" (pointing game),
arXiv:1608.00507; Sundararajan et al., "Axiomatic Attribution for Deep Networks", arXiv:1703.01365; Selvaraju et al.,
"Grad-CAM", arXiv:1610.02391.
"""

import argparse
import copy
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from cxrflow.console import Console
from cxrflow.experiment import load_experiment
from cxrflow.stages import load_data
from datasets.phantom import planted
from datasets.xray import XrayData
from driver.accelerator import Accelerator
from driver.explain import FILLS, Windows, explain, occlude, windows_of
from driver.reference import Reference
from export.integer_network import canonical, extract
from qnn.checkpoint import load_checkpoint
from qnn.network import PixelMLP, snap_weights

IMAGES = 100
RANDOM = 5
FAR = 0.25  # of an opacity's peak: less than this is not called its place


@dataclass(frozen=True)
class Maps:
    """Maps of N images."""

    differences: NDArray[np.int64]  # (N, R, C)
    pixels: NDArray[np.float64]  # (N, H, W)


def maps(reference: Reference, images: NDArray[np.uint8], windows: Windows, fill: str) -> Maps:
    """Explain (N, H, W) images as driver.explain does."""
    shape = (len(windows.rows), len(windows.columns))
    logits = reference(images)
    differences = np.stack(
        [logit - reference(occlude(image, windows, fill=fill)) for logit, image in zip(logits, images, strict=True)]
    ).reshape(-1, *shape)
    covered = [windows.cover(d) for d in differences]
    return Maps(differences, np.stack([sums / counts for sums, counts in covered]))


def untrained(net: PixelMLP, pixels: NDArray[np.uint8], seed: int) -> Reference:
    """Return the same network with random weights, its batch norm fitted to (N, H, W) images."""
    torch.manual_seed(seed)
    fresh = PixelMLP(net.spec).train()
    with torch.no_grad():
        for part in np.array_split(pixels, max(1, len(pixels) // 256)):
            fresh(torch.from_numpy(part.reshape(len(part), -1)).float())
    snap_weights(fresh)
    return Reference(extract(canonical(fresh.eval())).network)


def integrated_gradients(net: PixelMLP, images: NDArray[np.uint8], baselines: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return Captum's attributions of (N, H, W) images, (N, H, W)."""
    from captum.attr import IntegratedGradients

    start, end = (torch.from_numpy(v.reshape(len(v), -1)).float() for v in (baselines, images))
    found = IntegratedGradients(copy.deepcopy(net)).attribute(end, start, n_steps=64, internal_batch_size=1024)
    return np.asarray(found.detach().double().numpy().reshape(images.shape))


def grad_cam(net: PixelMLP, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return Captum's GradCAM of (N, H, W) images at the last convolution, (N, H, W)."""
    from captum.attr import LayerAttribution, LayerGradCam

    net = copy.deepcopy(net)
    layer = net.blocks[len(net.spec.windows) - 1]
    x = torch.from_numpy(images.reshape(len(images), -1)).float()
    found = LayerGradCam(net, layer).attribute(x)
    enlarged = LayerAttribution.interpolate(found, images.shape[1:], "bilinear")
    return np.asarray(enlarged[:, 0].detach().double().numpy())


def gradients_of(net: PixelMLP, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Return what the literature's ways make of (N, H, W) images, by their names."""
    baselines = {"black": np.zeros_like(images), "mirror": np.ascontiguousarray(images[:, :, ::-1])}
    found = {f"integrated gradients, {name}": integrated_gradients(net, images, b) for name, b in baselines.items()}
    return {**found, "GradCAM": grad_cam(net, images)} if net.spec.convolutions else found


def window_sums(values: NDArray[np.float64], windows: Windows) -> NDArray[np.float64]:
    """Return the sum of (N, H, W) values in every window, (N, R, C)."""
    size = windows.size
    rows = [
        [values[:, top : top + size, left : left + size].sum(axis=(1, 2)) for left in windows.columns.tolist()]
        for top in windows.rows.tolist()
    ]
    return np.array(rows).transpose(2, 0, 1)


def correlation(a: NDArray[np.generic], b: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return Spearman's rank correlation of each of N pairs, (N,); pairs of which one is constant are left out."""
    pairs = zip(a.reshape(len(a), -1), b.reshape(len(b), -1), strict=True)
    return np.array([spearmanr(x, y).statistic for x, y in pairs if np.ptp(x) and np.ptp(y)])


def spread(values: NDArray[np.float64]) -> str:
    """Mean and standard deviation as text."""
    return f"{values.mean():+.2f} ± {values.std():.2f}"


def hits(found: NDArray[np.float64], place: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return whether the peak of each map, (N, H, W), is in its place, (N, H, W)."""
    peak = found.reshape(len(found), -1).argmax(axis=1)
    return np.asarray(place.reshape(len(place), -1)[np.arange(len(place)), peak])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="run folder with a finished export")
    parser.add_argument("--data", type=Path, help="the X-rays, where the run's own are elsewhere")
    parser.add_argument("--images", type=int, default=IMAGES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    experiment = load_experiment(arguments.run / "experiment.yaml", data=arguments.data)
    data = load_data(experiment, cache=Path("runs/.cache"), console=Console())
    checkpoint = load_checkpoint(arguments.run / "train" / "checkpoint.pt")
    extracted = extract(canonical(checkpoint.net))
    reference = Reference(extracted.network)
    real = extracted.scale * reference(data.test.pixels) + extracted.offset
    chosen = np.flatnonzero((data.test.labels == 1) & (real > checkpoint.operating_point))[: arguments.images]
    print(f"{experiment.name}: {data.source}, {len(chosen)} test images of class 1 that the network calls class 1")
    report(checkpoint.net, reference, data, chosen)
    for folder in sorted((arguments.run / "deploy").glob("*/")):
        report_times(folder, data.test.pixels[chosen[:20]])
    if experiment.data.source == "phantom":
        brighter = planted(height=experiment.network.height, width=experiment.network.width, seed=experiment.data.seed)
        report_planted(checkpoint.net, reference, data, chosen, brighter[chosen])


def report(net: PixelMLP, reference: Reference, data: XrayData, chosen: NDArray[np.int64]) -> None:
    """Print the comparison with untrained networks, with integrated gradients and with GradCAM."""
    images = data.test.pixels[chosen]
    windows = windows_of(*images.shape[1:])
    untrained_ones = [untrained(net, data.train.pixels, seed) for seed in range(RANDOM)]
    gradients = gradients_of(net, images)
    random_rows, gradient_rows = [], []
    for fill in FILLS:
        ours = maps(reference, images, windows, fill)
        others = [maps(other, images, windows, fill).pixels for other in untrained_ones]
        signed = np.concatenate([correlation(ours.pixels, other) for other in others])
        absolute = np.concatenate([correlation(abs(ours.pixels), abs(other)) for other in others])
        random_rows.append(f"| {fill} | {spread(signed)} | {spread(absolute)} |")
        for name, values in gradients.items():
            by_window = correlation(ours.differences, window_sums(values, windows))
            by_pixel = correlation(ours.pixels, values)
            gradient_rows.append(f"| {fill} | {name} | {spread(by_window)} | {spread(by_pixel)} |")
    print(f"\n| fill | map against {RANDOM} untrained networks' | the same, magnitudes |\n| --- | --- | --- |")
    print(*random_rows, sep="\n")
    print("\n| fill | map against | windows | pixels |\n| --- | --- | --- | --- |")
    print(*gradient_rows, sep="\n")


def report_times(folder: Path, images: NDArray[np.uint8]) -> None:
    """Print what explaining costs on the devices that every machine has."""
    print("\n| device | images | cycles | open and verify [ms] | explain [ms] |\n| --- | --- | --- | --- | --- |")
    for device in ("cpu", "sim"):
        start = time.perf_counter()
        with Accelerator(folder, device) as accelerator:
            accelerator.prepare()
            opened = time.perf_counter() - start
            found, times = None, []
            for image in images:
                start = time.perf_counter()
                found = explain(accelerator, image)
                times.append(time.perf_counter() - start)
        assert found is not None
        cycles = f"{found.cycles:,} {found.cycles_are}" if found.cycles is not None else ""
        print(f"| {device} | {found.images} | {cycles} | {1e3 * opened:.0f} | {1e3 * float(np.median(times)):.1f} |")


def report_planted(
    net: PixelMLP,
    reference: Reference,
    data: XrayData,
    chosen: NDArray[np.int64],
    brighter: NDArray[np.float32],
) -> None:
    """Print how often planted opacities are found."""
    images = data.test.pixels[chosen]
    windows = windows_of(*images.shape[1:])
    place = brighter >= FAR * brighter.max(axis=(1, 2), keepdims=True)
    print("\n| map | its peak is in a planted opacity | chance |\n| --- | --- | --- |")
    rows = {f"occlusion, {fill}": maps(reference, images, windows, fill).pixels for fill in FILLS}
    rows |= gradients_of(net, images)
    for seed in range(RANDOM):
        other = untrained(net, data.train.pixels, seed)
        rows[f"occlusion, mirror, untrained {seed}"] = maps(other, images, windows, "mirror").pixels
    for name, found in rows.items():
        print(f"| {name} | {hits(found, place).mean():.2f} | {place.mean():.2f} |")


if __name__ == "__main__":
    main()
