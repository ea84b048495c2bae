"""Write what a training leaves behind: checkpoint, metrics, history and figures.

This is the only place that looks at the test images, once, after the epoch and the operating point were chosen on
validation images.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from datasets.xray import Split, XrayData
from qnn.checkpoint import save_checkpoint
from qnn.figures import FOOTER, plot_confusion, plot_history, plot_mistakes, plot_roc
from qnn.metrics import classification_metrics
from qnn.network import predict_logits
from qnn.spec import NetworkSpec, TrainConfig
from qnn.training import TrainResult, write_history

TOOLS = ("torch", "brevitas", "lightning", "torchmetrics", "numpy")


def finish(result: TrainResult, data: XrayData, spec: NetworkSpec, config: TrainConfig, out: Path) -> dict[str, Any]:
    """Measure the trained network and write checkpoint.pt, metrics.json, history.csv and figures/*.png into `out`.

    Args:
        result: of training.train.
        data: the data set it was trained on.
        spec: the network.
        config: how it was trained.
        out: folder; made when absent.

    Returns:
        What metrics.json holds.
    """
    threshold = result.operating_point
    val_logits, test_logits = predict_logits(result.net, data.val.pixels), predict_logits(result.net, data.test.pixels)
    val = classification_metrics(val_logits, data.val.labels, threshold=threshold)
    test = classification_metrics(test_logits, data.test.labels, threshold=threshold)
    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out / "checkpoint.pt", result.net, operating_point=threshold, fingerprint=data.fingerprint)
    write_history(out / "history.csv", result.history)

    figures, names = out / "figures", data.class_names
    plot_history(figures / "history.png", result.history, best_epoch=result.best_epoch)
    curves = {"validation": (val_logits, data.val.labels), "test": (test_logits, data.test.labels)}
    plot_roc(
        figures / "roc.png",
        {name: curve for name, curve in curves.items() if len(np.unique(curve[1])) == 2},
        threshold=threshold,
    )
    plot_confusion(figures / "confusion.png", {"validation": val, "test": test}, class_names=names)
    plot_mistakes(
        figures / "mistakes.png",
        data.test.pixels,
        test_logits,
        data.test.labels,
        threshold=threshold,
        class_names=names,
    )

    metrics = {
        "note": FOOTER,
        "network": spec.describe(),
        "operating_point": threshold,
        "operating_point_rule": "largest Youden's J on augmented validation images",
        "validation": val,
        "test": test,
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
        "counts": {name: _counts(split, names) for name, split in _splits(data).items()},
        "versions": {tool: version(tool) for tool in TOOLS},
    }
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return metrics


def _splits(data: XrayData) -> dict[str, Split]:
    return {"train": data.train, "validation": data.val, "test": data.test}


def _counts(split: Split, class_names: tuple[str, str]) -> dict[str, int]:
    by_class = {name: int((split.labels == label).sum()) for label, name in enumerate(class_names)}
    return {**by_class, "images": len(split), "patients": len(np.unique(split.patients))}
