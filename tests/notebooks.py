"""Execute a notebook as Jupyter does."""

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from tests import compiled


def execute(notebook: Path, folder: Path, *, device: str | None = None, simulates: bool = False) -> tuple[str, int]:
    """Run all cells with `folder` as the working folder; return all text that they gave, and how many pictures.

    Args:
        notebook: as committed, without outputs.
        folder: where the kernel runs.
        device: replaces the notebook's "auto".
        simulates: it compiles simulators, which find Verilator's code compiled.
    """
    text = notebook.read_text(encoding="utf-8")
    if device is not None:
        assert text.count('\\"auto\\"') == 1
        text = text.replace('\\"auto\\"', f'\\"{device}\\"')
    content = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(content)  # type: ignore[no-untyped-call]
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code), "committed with outputs"
    if simulates:
        content.cells.insert(0, nbformat.v4.new_code_cell(compiled.for_simulators_of_a_process()))  # type: ignore[no-untyped-call]
    NotebookClient(content, timeout=900, resources={"metadata": {"path": str(folder)}}).execute()
    outputs: list[Any] = [output for cell in code for output in cell.outputs]
    said = "".join(str(o.get("text", "")) + str(o.get("data", {}).get("text/plain", "")) for o in outputs)
    return said, sum("image/png" in output.get("data", {}) for output in outputs)
