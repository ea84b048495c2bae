"""The register map as page and header: equal to the code, and what the driver writes is what the page says."""

import shutil
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from contract.shells import CELLS, STARTS, register_map
from cxrflow.c_header import shell_header
from cxrflow.register_page import page
from driver.link import Registers
from tests.cxrflow.conftest import REPOSITORY, Place
from tests.driver.boards import Bench, some_pixels, write_folder


def test_the_page_is_that_of_the_code() -> None:
    text = (REPOSITORY / "docs" / "registers.md").read_text(encoding="utf-8")
    assert text == page(), "run `cxrflow registers > docs/registers.md`"


@pytest.mark.parametrize("shell", CELLS)
def test_the_driver_starts_a_transfer_as_the_page_says(shell: str, tmp_path: Path) -> None:
    write_folder(tmp_path)
    names = {offset: name for name, offset, _ in register_map(shell)}
    written: list[tuple[str, str]] = []
    plain = Registers.write

    def write(self: Registers, offset: int, value: int) -> None:
        written.append((self.name, names[offset]))
        plain(self, offset, value)

    with Bench(tmp_path, shell).open() as accelerator:
        accelerator.verify()
        with mock.patch.object(Registers, "write", write):
            accelerator.infer(some_pixels(3))
    assert written == [(cell, name) for cell, name, _ in STARTS[shell]]


@pytest.mark.parametrize("shell", CELLS)
def test_the_header_is_c_with_every_offset(shell: str, tmp_path: Path) -> None:
    prefix = "AXI_DMA" if shell == "axi_dma" else "IODMA"
    (tmp_path / f"{shell}.h").write_text(shell_header(shell))
    checks = [f'_Static_assert(CXRFLOW_{prefix}_{name} == {offset}, "");' for name, offset, _ in register_map(shell)]
    include = f'#include "{shell}.h"\n'
    (tmp_path / "t.c").write_text(include * 2 + "\n".join(checks) + "\nint main(void) { return 0; }\n")
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler, "a C compiler for this machine"
    command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-c", "t.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command(bare: Place) -> None:
    assert bare("registers").out == page()
    assert "S2MM_LENGTH" in bare("registers", "--shell", "axi_dma").out
    assert bare("registers", "--shell", "finn_iodma", "--header").out == shell_header("finn_iodma")
    bare("registers", "--header").assert_refused("--shell axi_dma")
    bare("registers", "--shell", "none").assert_refused("'none' is not a known shell")
