"""Write what a training leaves behind: checkpoint, metrics and history; `drawn.py` draws it.

`add_test` is the only place that looks at the test images, once, after the epoch and the operating point were chosen on
validation images.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.xray import Split, XrayData
from qnn.calibration import reliability
from qnn.checkpoint import save_checkpoint
from qnn.class_metrics import class_reliability
from qnn.evaluation import evaluate_split
from qnn.metrics import Labels, Logits
from qnn.network import PixelMLP, predict_logits
from qnn.records import FOOTER, GREATEST
from qnn.spec import NetworkSpec, OperatingRule, TrainConfig
from qnn.teacher import split_fingerprint
from qnn.training import TrainResult, mixed_validation, training_device, write_history

TOOLS = ("torch", "brevitas", "lightning", "torchmetrics", "scikit-learn", "scipy", "numpy", "pillow")
RULES: dict[OperatingRule, str] = {
    "balanced": "even odds at equal class sizes, after Platt scaling on clean and augmented validation images",
    "youden": "largest Youden's J on augmented validation images",
    "sensitivity_95": "highest threshold with a sensitivity of 95 % on augmented validation images",
}


def finish(
    result: TrainResult,
    data: XrayData,
    spec: NetworkSpec,
    config: TrainConfig,
    out: Path,
    *,
    made_from: Mapping[str, Any],
    test: bool = True,
) -> dict[str, Any]:
    """Measure the trained network and write checkpoint.pt, metrics.json and history.csv into `out`.

    Args:
        result: of training.train.
        data: the data set it was trained on.
        spec: the network.
        config: how it was trained.
        out: folder; made when absent.
        made_from: what else went in, JSON-able: hashes of code and of other runs.
        test: look at the test images, too. Without, metrics.json has no 'test'; `add_test` adds it.

    Returns:
        What metrics.json holds.
    """
    threshold, rule = result.operating_point, config.operating_point
    mixed_pixels, mixed_labels = mixed_validation(data.val, config.validation_augment)
    ece = _ece(predict_logits(result.net, mixed_pixels), mixed_labels, result)
    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out / "checkpoint.pt", result.net, operating_point=threshold, fingerprint=data.fingerprint)
    write_history(out / "history.csv", result.history)
    names = data.class_names
    metrics = {
        "note": FOOTER,
        "network": spec.describe(),
        "class_names": list(names),
        "operating_point": threshold,
        "operating_point_rule": RULES[rule] if spec.outputs == 1 else GREATEST,
        "operating_points": result.operating_points,
        **({} if config.one_class is None else {"one_class": config.one_class}),
        "calibration": {**asdict(result.calibration), **ece},
        "validation": evaluate_split(
            predict_logits(result.net, data.val.pixels),
            data.val,
            result.operating_points,
            rule=rule,
            names=names,
            one_class=config.one_class,
        ),
        "best_epoch": result.best_epoch,
        "epochs_trained": len(result.history),
        "interrupted": result.interrupted,
        "best": result.best,
        "seconds": round(result.seconds, 3),
        "spec": spec.model_dump(mode="json"),
        "train_config": config.model_dump(mode="json"),
        "seed": config.seed,
        "source": data.source,
        "fingerprint": data.fingerprint,
        "split": split_fingerprint(data),
        "counts": {name: _counts(split, names) for name, split in _splits(data).items()},
        "made_from": dict(made_from),
        "versions": {"python": platform.python_version()} | {tool: version(tool) for tool in TOOLS},
        "machine": {
            "processor": platform.machine(),
            "simd": torch.backends.cpu.get_cpu_capability(),
            "trained_on": training_device(config),
        },
    }
    write_json(out / "metrics.json", metrics)
    return add_test(result.net, data, config, metrics, out) if test else metrics


def add_test(
    net: PixelMLP, data: XrayData, config: TrainConfig, metrics: Mapping[str, Any], out: Path
) -> dict[str, Any]:
    """Look at the test images: add what they give to metrics.json in `out`.

    Args:
        net: trained, with calibrated logits.
        data: the data set it was trained on.
        config: how it was trained.
        metrics: what metrics.json holds.
        out: what `finish` wrote.

    Returns:
        What metrics.json now holds.
    """
    points, rule = metrics["operating_points"], config.operating_point
    logits = predict_logits(net, data.test.pixels)
    test = evaluate_split(logits, data.test, points, rule=rule, names=data.class_names, one_class=config.one_class)
    found = {**metrics, "test": test}
    write_json(out / "metrics.json", found)
    return found


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON; a value that is not finite is a bug."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _ece(logits: Logits, labels: Labels, result: TrainResult) -> dict[str, float]:
    """Return the expected calibration error on `mixed_validation` images, before and after the calibration."""
    before = (logits - np.array(result.calibration.intercept)) / result.calibration.slope
    compare = reliability if logits.ndim == 1 else class_reliability
    return {"validation_ece_before": compare(before, labels).ece, "validation_ece": compare(logits, labels).ece}


def _splits(data: XrayData) -> dict[str, Split]:
    return {"train": data.train, "validation": data.val, "test": data.test}


def _counts(split: Split, class_names: Sequence[str]) -> dict[str, int]:
    by_class = {name: int((split.labels == label).sum()) for label, name in enumerate(class_names)}
    return {**by_class, "images": len(split), "patients": len(np.unique(split.patients))}
