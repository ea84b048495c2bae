"""What a training and an evaluation show to people: which figures, of what. `figures.py` draws each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from datasets.seen import Seen
from datasets.xray import CLASS_NAMES, Split, XrayData
from qnn.calibration import reliability
from qnn.class_metrics import class_reliability
from qnn.evaluation import evaluate_split
from qnn.figures import (
    plot_class_confusion,
    plot_class_mistakes,
    plot_class_roc,
    plot_confusion,
    plot_history,
    plot_mistakes,
    plot_reliability,
    plot_roc,
    plot_shifts,
)
from qnn.network import PixelMLP, predict_logits
from qnn.records import FOOTER, GREATEST, Epoch
from qnn.results import RULES, write_json
from qnn.shifts import measure_shifts
from qnn.spec import OperatingRule, TrainConfig
from qnn.training import mixed_validation

OF_ANSWERS = ("probability of the answer", "share of right answers")  # what is predicted and observed of K classes


def draw_training(
    net: PixelMLP,
    data: XrayData,
    config: TrainConfig,
    metrics: Mapping[str, Any],
    history: Sequence[Epoch],
    out: Path,
) -> None:
    """Draw a training into the new folder `out`: its epochs, and what test images show if these were looked at.

    Args:
        net: trained, with calibrated logits.
        data: the data set it was trained on.
        config: how it was trained.
        metrics: what metrics.json holds.
        history: what history.csv holds.
        out: folder.
    """
    out.mkdir(parents=True)
    plot_history(out / "history.png", [asdict(epoch) for epoch in history], best_epoch=metrics["best_epoch"])
    if metrics.get("test") is None:
        return
    if net.spec.outputs > 1:
        _draw_classes(net, data, config, metrics, out)
        return
    threshold, names = metrics["operating_points"][config.operating_point], data.class_names
    val_logits, test_logits = predict_logits(net, data.val.pixels), predict_logits(net, data.test.pixels)
    curves = {"validation": (val_logits, data.val.labels), "test": (test_logits, data.test.labels)}
    plot_roc(
        out / "roc.png",
        {name: curve for name, curve in curves.items() if len(np.unique(curve[1])) == 2},
        threshold=threshold,
    )
    mixed_pixels, mixed_labels = mixed_validation(data.val, config.validation_augment)
    plot_reliability(
        out / "reliability.png",
        {
            "clean and augmented validation": reliability(predict_logits(net, mixed_pixels), mixed_labels),
            "test": reliability(test_logits, data.test.labels),
        },
        of=_of(names),
    )
    tables = {"validation": metrics["validation"], "test": metrics["test"]}
    plot_confusion(out / "confusion.png", tables, class_names=names)
    plot_mistakes(
        out / "mistakes.png",
        data.test.pixels,
        test_logits,
        data.test.labels,
        threshold=threshold,
        class_names=names,
    )


def _of(names: Sequence[str]) -> tuple[str, str]:
    """Return what is predicted and observed of two classes."""
    positive = names[1].lower() if tuple(names) == CLASS_NAMES else names[1]
    return f"probability of {positive}", f"share of {positive}"


def _draw_classes(net: PixelMLP, data: XrayData, config: TrainConfig, metrics: Mapping[str, Any], out: Path) -> None:
    """Draw what test images of K classes show."""
    names, labels, test_logits = data.class_names, data.test.labels, predict_logits(net, data.test.pixels)
    plot_class_roc(out / "roc.png", test_logits, labels, class_names=names)
    mixed_pixels, mixed_labels = mixed_validation(data.val, config.validation_augment)
    plot_reliability(
        out / "reliability.png",
        {
            "clean and augmented validation": class_reliability(predict_logits(net, mixed_pixels), mixed_labels),
            "test": class_reliability(test_logits, labels),
        },
        of=OF_ANSWERS,
    )
    tables = {name: np.array(metrics[name]["confusion"]) for name in ("validation", "test")}
    plot_class_confusion(out / "confusion.png", tables, class_names=names)
    plot_class_mistakes(out / "mistakes.png", data.test.pixels, test_logits, labels, class_names=names)


def report_evaluation(
    net: PixelMLP,
    split: Split,
    points: Mapping[str, float],
    rule: OperatingRule,
    out: Path,
    *,
    source: str,
    with_shifts: bool,
    seen: Seen | None = None,
    names: Sequence[str] = CLASS_NAMES,
    one_class: str | None = None,
) -> dict[str, Any]:
    """Measure a trained network on other images; write evaluation.json and figures into the new folder `out`.

    Args:
        net: with calibrated logits.
        split: images of the network's size; one class may be absent.
        points: thresholds by rule [logit].
        rule: the one that the metrics are stated at.
        out: folder.
        source: one line for people: where the images came from.
        with_shifts: measure under the grid of shifts as well.
        seen: how many of the images the training has used; None: unknown.
        names: of the classes.
        one_class: of K classes, the one that `points` are for.

    Returns:
        What evaluation.json holds.
    """
    logits = predict_logits(net, split.pixels)
    several = logits.ndim == 2
    found: dict[str, Any] = {"note": FOOTER, "source": source}
    found["operating_point_rule"] = GREATEST if several else RULES[rule]
    found["seen"] = None if seen is None else asdict(seen)
    found |= evaluate_split(logits, split, points, rule=rule, names=names, one_class=one_class)
    out.mkdir(parents=True)
    if several:
        plot_class_roc(out / "roc.png", logits, split.labels, class_names=names)
        curves = {"these images": class_reliability(logits, split.labels)}
        plot_reliability(out / "reliability.png", curves, of=OF_ANSWERS)
    else:
        if len(np.unique(split.labels)) == 2:
            plot_roc(out / "roc.png", {"these images": (logits, split.labels)}, threshold=points[rule])
        plot_reliability(out / "reliability.png", {"these images": reliability(logits, split.labels)}, of=_of(names))
    if with_shifts:
        found["shifts"] = measure_shifts(net, split, threshold=0.0 if several else points[rule], names=names)
        plot_shifts(out / "shifts.png", found["shifts"])
    write_json(out / "evaluation.json", found)
    return found
