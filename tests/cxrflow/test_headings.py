"""What a heading or a rule says of its figures. The kind of fault: a figure shown under the name of another one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cxrflow import summary
from cxrflow.summary import SEEDS_HEADINGS, seeds_figures
from cxrflow.sweep.page import COLUMNS
from qnn.records import GREATEST


def test_a_sweep_says_which_auc_it_has() -> None:
    assert COLUMNS["monitor"] == "validation AUC, mean of clean and augmented (of K classes macro)"
    assert "macro" in COLUMNS["test_auc"]


def test_the_rule_names_the_bias_of_each_class() -> None:
    assert "one temperature and a bias for each class" in GREATEST


def test_the_report_says_of_which_images_the_calibration_error_is() -> None:
    template = (Path(summary.__file__).parent / "report" / "report.html.j2").read_text(encoding="utf-8")
    assert "fitted on clean and augmented validation images together" in template


def test_what_k_classes_have_not_is_a_dash() -> None:
    values = {"accuracy": 0.9, "auc": 0.8, "balanced_accuracy": 0.7}
    test: Any = SimpleNamespace(value=values.get, intervals={}, ece=0.1)
    metrics: Any = SimpleNamespace(test=test, fingerprint="f", network="n", source="s", seconds=1.0)
    (row,) = seeds_figures([("a-seed0", metrics), ("a-seed1", metrics)]).rows
    shown = dict(zip(SEEDS_HEADINGS, row, strict=True))
    assert [shown[name] for name in SEEDS_HEADINGS if shown[name] == "-"] == ["-"] * 3
    assert shown["sensitivity"] == shown["specificity"] == shown["accuracy: Youden, sensitivity 95 %"] == "-"
    assert "macro" in shown["test AUC"]
