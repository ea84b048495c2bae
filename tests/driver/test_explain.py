"""Occlusion maps against a network whose map is known, and on every device."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from contract.errors import ConfigError, DataError
from contract.manifest import load_manifest
from contract.network import Dense, Input, IntegerNetwork
from contract.npz import load_npz
from driver import __main__ as command_line
from driver.accelerator import Accelerator
from driver.explain import explain, explain_files, occlude, overlay, windows_of
from driver.reference import Reference
from driver.simulated.core import ReferenceCore
from driver.simulated.device import SimulatedDevice, with_shell
from driver.simulated.stand_in import StandIn
from tests.deploy_folder import write_deploy
from tests.randomness import generator

RNG = generator(11)
WEIGHTS = RNG.integers(-128, 128, (28, 28)).astype(np.int8)
PIXELS = RNG.integers(0, 256, (28, 28), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deploy folder of a linear network: what a window contributes is a sum of products."""
    out = tmp_path_factory.mktemp("linear")
    write_deploy(out, IntegerNetwork(Input(28, 28), (Dense(WEIGHTS.reshape(1, -1), None),)))
    return out


def linear_map(filling: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The exact difference per window and the mean per pixel, by hand: 7 x 7 windows, three apart."""
    lost = WEIGHTS.astype(np.int64) * (PIXELS.astype(np.int64) - filling)
    starts = range(0, 22, 3)
    by_window = np.array([[lost[i : i + 7, j : j + 7].sum() for j in starts] for i in starts])
    by_pixel = np.empty((28, 28))
    for y in range(28):
        for x in range(28):
            over = [[0 <= y - i < 7 and 0 <= x - j < 7 for j in starts] for i in starts]
            by_pixel[y, x] = by_window[np.array(over)].mean()
    return by_window, by_pixel


@pytest.mark.parametrize("fill", ["mirror", "mean"])
def test_the_map_of_a_linear_network_is_its_weights_times_what_changed(folder: Path, fill: str) -> None:
    mean = int(np.floor(PIXELS.astype(np.float64).mean() + 0.5))
    filling = np.fliplr(PIXELS).astype(np.int64) if fill == "mirror" else np.full((28, 28), mean)
    by_window, by_pixel = linear_map(filling)
    with Accelerator(folder, "cpu") as accelerator:
        found = explain(accelerator, PIXELS, fill=fill)
    np.testing.assert_array_equal(found.differences, by_window)
    np.testing.assert_allclose(found.map, by_pixel, rtol=1e-12)
    assert found.logit == (WEIGHTS.astype(np.int64) * PIXELS).sum() and found.images == 65
    assert (found.cycles, found.cycles_are) == (65 * 196, "expected")


def test_one_transfer_on_a_device_gives_the_integers_of_the_cpu(tmp_path: Path) -> None:
    write_deploy(tmp_path)
    hardware = load_manifest(tmp_path / "accelerator.json").hardware
    assert hardware is not None
    hardware = with_shell(hardware)
    write_deploy(tmp_path, hardware=hardware)
    core = ReferenceCore(Reference.load(tmp_path / "reference.npz").outputs, hardware.input)
    runtime = StandIn(SimulatedDevice(hardware, core))
    with Accelerator(tmp_path, "cpu") as cpu, Accelerator(tmp_path, "board", runtime=runtime) as board:
        want = explain(cpu, PIXELS)
        board.prepare()
        with mock.patch.object(board.link, "start", wraps=board.link.start) as start:
            found = explain(board, PIXELS)
    assert [call.args[1] for call in start.call_args_list] == [65]
    assert want.differences.any()
    for name, values in want.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], values)


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (8, 8), (28, 28), (64, 64), (33, 27)])
def test_windows_cover_every_pixel_and_stay_inside(shape: tuple[int, int]) -> None:
    windows = windows_of(*shape)
    _, counts = windows.cover(np.zeros((len(windows.rows), len(windows.columns)), dtype=np.int64))
    assert counts.min() >= 1
    image = np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape)
    changed = occlude(np.zeros_like(image) + 7, windows, fill="mean")
    assert changed.shape[1:] == shape and (changed == 7).all()  # a flat image has nothing to hide
    assert len(changed) == len(windows.rows) * len(windows.columns) <= 1023  # with the image, one transfer


def test_colours_say_for_and_against(folder: Path) -> None:
    with Accelerator(folder, "cpu") as accelerator:
        found = explain(accelerator, PIXELS)
    colours, peak = overlay(found), np.unravel_index(np.abs(found.map).argmax(), (28, 28))
    assert colours[peak][3] == colours[..., 3].max() > 150
    red_over_blue = colours[..., 0] > colours[..., 2]
    np.testing.assert_array_equal(red_over_blue, found.map > 0)


def test_files_of_maps(folder: Path, tmp_path: Path, capsys: Any) -> None:
    Image.fromarray(PIXELS).resize((56, 56), Image.Resampling.NEAREST).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("not an image")
    with Accelerator(folder, "cpu") as accelerator:
        done, failures = explain_files(accelerator, [tmp_path / "a.png", tmp_path / "text.png"], tmp_path / "out")
        want = explain(accelerator, PIXELS)  # the average of 2 x 2 equal pixels
        with pytest.raises(ConfigError, match=r"two images are called a\.png"):
            explain_files(accelerator, [tmp_path / "a.png", tmp_path / "b" / "a.png"], tmp_path / "out")
        with pytest.raises(ConfigError, match="the fill is 'gray', expected one of mirror, mean"):
            explain(accelerator, PIXELS, fill="gray")
        with pytest.raises(DataError, match=r"shape \(1, 28, 28\), expected \(height, width\)"):
            explain(accelerator, PIXELS[None])
    assert [row.file.name for row in done] == ["a.png"] and list(failures) == [str(tmp_path / "text.png")]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png.npz", "a.png.png"]
    for name, values in load_npz(done[0].array).items():
        np.testing.assert_array_equal(values, want.arrays()[name])
    with Image.open(done[0].image) as picture:
        assert picture.format == "PNG" and picture.width > picture.height
    arguments = ["explain", str(tmp_path / "a.png"), "--folder", str(folder), "--out", str(tmp_path / "out2")]
    assert command_line.main([*arguments, "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert f"logit {want.logit}  images 65  cycles {65 * 196}" in said and "not a medical device" in said


def test_the_command_explains_and_names_what_it_cannot(folder: Path, tmp_path: Path) -> None:
    from tests.cxrflow.conftest import Place

    place = Place(tmp_path)
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    outcome = place("explain", folder, "a.png", "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.err
    row = json.loads(outcome.out)["results"][0]
    assert row["images"] == 65 and Path(tmp_path / row["overlay"]).is_file() and Path(tmp_path / row["array"]).is_file()
    outcome = place("explain", folder, "a.png", "none.png", "--device", "cpu")
    assert outcome.code == 1 and "none.png: does not exist" in outcome.err and "12,740 expected" in outcome.out
    place("explain", folder, "a.png", "--fill", "black").assert_refused("the fill is 'black'")
