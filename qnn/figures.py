"""Pictures of a training, for people: loss curves, ROC, confusion matrices and the images that were classified wrongly.

Images are labelled with their position and probability only. File names of medical images can carry patient numbers.
Each is a PNG file, with the same as SVG and PDF beside it. Drawn without pyplot, so nothing global changes and no
display is needed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from contract.decision import log_odds, sigmoid, softmax
from contract.drawing import save_in_every_form
from qnn.metrics import Labels, Logits, auc, classification_metrics
from qnn.records import FOOTER
from qnn.reliability import Reliability

DPI = 150
BLUE, ORANGE, GRAY = "#2563a8", "#d9742b", "#8a8f98"
PAGE_ROWS, PAGE_COLUMNS = 4, 6  # of misclassified images
MOST_CURVES = 10  # of classes; more cannot be told apart


def _figure(width_in: float, height_in: float) -> Figure:
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> Path:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(FOOTER, fontsize=7, color=GRAY)
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_in_every_form(figure, path)


def plot_history(path: Path, history: Sequence[Mapping[str, float]], *, best_epoch: int) -> Path:
    """Write loss and AUC over the epochs; `history` has the fields of training.HISTORY_FIELDS."""
    figure = _figure(8, 3.2)
    losses, aucs = figure.subplots(1, 2)
    epochs = [row["epoch"] + 1 for row in history]
    for axes, name, label, colour in (
        (losses, "train_loss", "training, augmented", BLUE),
        (losses, "val_loss", "validation, clean", ORANGE),
        (aucs, "val_auc", "validation, clean", ORANGE),
        (aucs, "val_auc_aug", "validation, augmented", BLUE),
    ):
        marker = "o" if len(history) == 1 else None  # a line of one point is invisible
        axes.plot(epochs, [row[name] for row in history], color=colour, label=label, linewidth=1.4, marker=marker)
    for axes, title in ((losses, "Loss"), (aucs, "AUC")):
        axes.axvline(best_epoch + 1, color=GRAY, linestyle=":", linewidth=1, label=f"kept: epoch {best_epoch + 1}")
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8)
    return _save(figure, path)


def plot_roc(path: Path, curves: Mapping[str, tuple[Logits, Labels]], *, threshold: float) -> Path:
    """Write one ROC curve per entry of `curves`, name -> (logits, labels), both (N,), with the operating point."""
    figure = _figure(4.4, 4.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle=":", linewidth=1)
    for (name, (logits, labels)), colour in zip(curves.items(), (ORANGE, BLUE, GRAY), strict=False):
        false_rate, true_rate, _ = roc_curve(labels, logits)
        measured = classification_metrics(logits, labels, threshold=threshold)
        axes.plot(false_rate, true_rate, color=colour, linewidth=1.6, label=f"{name}, AUC {measured['auc']:.3f}")
        specificity, sensitivity = measured["specificity"], measured["sensitivity"]
        assert specificity is not None and sensitivity is not None  # a curve needs both classes
        axes.plot(1 - specificity, sensitivity, "o", color=colour, markersize=7, markeredgecolor="white")
    axes.plot([], [], "o", color=GRAY, label="operating point")
    axes.set(title="ROC", xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return _save(figure, path)


def plot_class_roc(path: Path, logits: Logits, labels: Labels, *, class_names: Sequence[str]) -> Path:
    """Write the ROC curve of each of K classes against the rest, at most MOST_CURVES; logits are (N, K)."""
    figure = _figure(4.4, 4.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle=":", linewidth=1)
    odds = log_odds(logits)
    there = [k for k in range(len(class_names)) if 0 < np.count_nonzero(labels == k) < len(labels)][:MOST_CURVES]
    for k in there:
        own = (labels == k).astype(np.int64)
        false_rate, true_rate, _ = roc_curve(own, odds[:, k])
        label = f"{class_names[k]}, AUC {auc(odds[:, k], own):.3f}"
        axes.plot(false_rate, true_rate, linewidth=1.6, label=label)
    axes.set(title="ROC, each class against the rest", xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return _save(figure, path)


def plot_reliability(
    path: Path,
    curves: Mapping[str, Reliability],
    *,
    of: tuple[str, str],
) -> Path:
    """Write predicted against observed shares, one line per entry of `curves`; dots by share of images.

    `of` says what is predicted and what is observed.
    """
    figure = _figure(4.4, 4.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle=":", linewidth=1)
    for (name, curve), colour in zip(curves.items(), (ORANGE, BLUE, GRAY), strict=False):
        label = f"{name}, ECE {curve.ece:.3f}"
        axes.plot(curve.predicted, curve.observed, color=colour, linewidth=1.4, label=label)
        axes.scatter(curve.predicted, curve.observed, s=6 + 300 * curve.weight, color=colour, alpha=0.6, linewidths=0)
    axes.set(
        title="Reliability, at equal class sizes",
        xlabel=f"predicted {of[0]}",
        ylabel=f"observed {of[1]}",
        aspect="equal",
    )
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return _save(figure, path)


def plot_confusion(
    path: Path, tables: Mapping[str, Mapping[str, float | int | None]], *, class_names: Sequence[str]
) -> Path:
    """Write one confusion matrix per entry of `tables`, name -> result of metrics.classification_metrics."""
    counts = {
        name: np.array([[table["tn"], table["fp"]], [table["fn"], table["tp"]]], dtype=np.int64)
        for name, table in tables.items()
    }
    return plot_class_confusion(path, counts, class_names=class_names)


def plot_class_confusion(path: Path, tables: Mapping[str, NDArray[np.int64]], *, class_names: Sequence[str]) -> Path:
    """Write one confusion matrix per entry of `tables`, name -> (K, K) images by label and answer."""
    classes = len(class_names)
    side = max(3.4, 0.6 * classes)  # [inch]
    figure = _figure(side * len(tables), side + 0.1)
    for axes, (name, counts) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(classes, classes) if classes <= MOST_CURVES else ():
            text = f"{counts[row, column]}\n{share[row, column]:.1%}"
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=None if classes < 4 else 6)
        places, upright = range(classes), classes > 3
        axes.set_xticks(places, class_names, fontsize=8, rotation=90 if upright else 0)
        axes.set_yticks(places, class_names, fontsize=8, rotation=0 if upright else 90, va="center")
        axes.set(title=name, xlabel="network says", ylabel="label")
    return _save(figure, path)


def plot_mistakes(
    path: Path,
    pixels: NDArray[np.uint8],
    logits: Logits,
    labels: Labels,
    *,
    threshold: float,
    class_names: Sequence[str],
) -> Path:
    """Write a page of the images that are furthest on the wrong side of `threshold`.

    Args:
        path: the PNG file.
        pixels: (N, H, W) uint8.
        logits: (N,).
        labels: (N,) 0 or 1.
        threshold: operating point [logit].
        class_names: of labels 0 and 1.
    """
    wrong = np.flatnonzero((logits > threshold) != (labels == 1))
    worst = wrong[np.argsort(-np.abs(logits[wrong] - threshold), kind="stable")]
    titles = {
        i: f"image {i}: {class_names[labels[i]]}\np({class_names[1]}) = {float(sigmoid(logits[i])):.3f}" for i in worst
    }
    return _plot_wrong(path, pixels, titles)


def plot_class_mistakes(
    path: Path, pixels: NDArray[np.uint8], logits: Logits, labels: Labels, *, class_names: Sequence[str]
) -> Path:
    """Write a page of the images of which the network is surest and wrong; logits are (N, K), the rest as above."""
    answers, odds = logits.argmax(axis=1), log_odds(logits)
    wrong = np.flatnonzero(answers != labels)
    worst = wrong[np.argsort(-odds[wrong, answers[wrong]], kind="stable")]
    probabilities = softmax(logits)
    titles = {
        i: f"image {i}: {class_names[labels[i]]}\np({class_names[answers[i]]}) = {probabilities[i, answers[i]]:.3f}"
        for i in worst
    }
    return _plot_wrong(path, pixels, titles)


def _plot_wrong(path: Path, pixels: NDArray[np.uint8], titles: Mapping[int, str]) -> Path:
    """Write a page of the first of some misclassified images; `titles` has all of them, the worst first."""
    figure = _figure(1.45 * PAGE_COLUMNS, 1.85 * PAGE_ROWS)
    for cell, (i, title) in zip(range(PAGE_ROWS * PAGE_COLUMNS), titles.items(), strict=False):
        axes = figure.add_subplot(PAGE_ROWS, PAGE_COLUMNS, cell + 1)
        axes.axis("off")
        axes.imshow(pixels[i], cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=6.5, y=1)  # there anyway: without axes, nothing is looked for in its way
    figure.suptitle(f"{len(titles)} of {len(pixels)} misclassified, worst first", fontsize=10)
    return _save(figure, path)


def plot_shifts(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write AUC and balanced accuracy over the levels of each shift; `rows` are those of shifts.measure_shifts."""
    names = list(dict.fromkeys(row["shift"] for row in rows))
    figure = _figure(2.6 * len(names), 2.9)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        chosen = [row for row in rows if row["shift"] == name]
        levels = [row["level"] for row in chosen]
        for key, colour in (("auc", BLUE), ("balanced_accuracy", ORANGE)):
            values = [np.nan if row[key] is None else row[key] for row in chosen]
            axes.plot(levels, values, "o-", color=colour, linewidth=1.4, markersize=3, label=key.replace("_", " "))
        axes.set(title=name, xlabel=chosen[0]["unit"])
        axes.grid(alpha=0.25)
    panels[0].legend(frameon=False, fontsize=8, loc="lower center")
    return _save(figure, path)
