"""What fields and stages are called where people read them."""

WORDS = {
    "auc": "AUC", "macro_auc": "macro AUC", "f1": "F1", "kappa": "Cohen's kappa", "brier": "Brier score",
    "sensitivity_95": "sensitivity 95 %", "youden": "Youden's J",
    "cpu_reference": "CPU reference",
    "rtl": "RTL, simulated cycle by cycle", "rtl_with_random_stalls": "RTL with random stalls",
    "netlist": "netlist after Yosys, simulated", "brevitas_float64": "Brevitas in float64",
    "file_float64": "the file's own execution in float64", "file_float32": "the file's own execution",
    "file_rational": "thresholds in rational arithmetic: accumulators",
    "qonnx_float64": "QONNX in float64", "qonnx_float32": "QONNX in plain float32",
    "qonnx_to_finn": "FINN's own conversion of QONNX", "streamline": "FINN's own streamlining",
    "hardware_graph": "graph written from the integers", "fold": "folded graph",
}  # fmt: skip


def words(name: str) -> str:
    """Return a field's or stage's name as people write it."""
    return WORDS.get(name, name.replace("_", " "))
