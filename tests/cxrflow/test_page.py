"""The page in a real Chromium: what people do with it, with a mouse, with the keyboard, in both themes, on a phone."""

import csv
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from contract.decision import Choice, Head
from contract.network import Input, IntegerNetwork
from contract.quantizer import InputRule
from contract.table import is_formula
from cxrflow.serve.limits import Limits
from driver.accelerator import Accelerator
from tests import dicom_files
from tests.browser import accessibility_findings, requests_of, screenshot
from tests.deploy_folder import write_classes, write_deploy, write_integers, write_likeness
from tests.served import Served, noise, png, serving

TOKEN = "0123456789ab-._~+/=="  # every sign that one may have


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IntegerNetwork]:
    folder = tmp_path_factory.mktemp("page") / "a-run"
    return folder, write_deploy(folder)


@pytest.fixture(scope="module")
def server(network: tuple[Path, IntegerNetwork], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    second = tmp_path_factory.mktemp("page") / "another-run"
    write_deploy(second, seed=8)
    with serving(network[0], second, limits=Limits(files=3, file_bytes=1 << 20)) as served:
        yield served


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """X-rays of a kind, and files that are none."""
    folder = tmp_path_factory.mktemp("files")
    for i in range(4):
        (folder / f"{i}.png").write_bytes(png(noise(200, i)))
    (folder / "=formula.jpg").write_bytes(png(noise(60), "JPEG"))
    (folder / "a.dcm").write_bytes(dicom_files.content(dicom_files.make(noise(60), bits=8)))
    (folder / "zip.dcm").write_bytes(b"PK\x03\x04 and more")
    (folder / "<b>bold.png").write_bytes(b"no image")
    (folder / "large.png").write_bytes(bytes((1 << 20) + 1))
    return folder


def opened(page: Page, server: Served) -> Page:
    """The page, all of it."""
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda message: failures.append(message.text) if "Content Security" in message.text else None)
    page.goto(server.url)
    expect(page.locator("#examples button")).to_have_count(6)
    assert failures == []
    return page


def choose(page: Page, *paths: Path) -> None:
    page.set_input_files("#files", [str(path) for path in paths])


def value(page: Page, name: str) -> str:
    """What the result says about `name`."""
    return page.locator("dt", has_text=re.compile(name)).locator("+ dd").inner_text()


def logit_of(network: IntegerNetwork, pixels: Any) -> str:
    return f"{int(network.outputs(pixels[None])[-1][0, 0]):,}".replace("-", "\u2212")


def test_an_x_ray_a_result_a_map_and_a_slider(
    page: Page, server: Served, files: Path, network: tuple[Path, IntegerNetwork]
) -> None:
    asked = requests_of(page)
    opened(page, server)
    (files / "28.png").write_bytes(png(noise(28, 7)))
    choose(page, files / "28.png")
    expect(page.locator("#result-title")).to_have_text("28.png")
    expect(page.locator("#values")).to_contain_text("Integer logit")
    assert value(page, "Integer logit") == logit_of(network[1], noise(28, 7))
    for name, form in (
        ("Probability", r"^(> |< )?\d+\.\d %$"), ("Preproc", r"^\d.* ms$"), ("On cpu, 65 images", r"^\d.* ms$"),
        ("cycles", r"^12,740 \(expected\)$"), ("^Image$", "^28 \u00d7 28 pixels$"), ("above", r"^128 \(50\.0 %\)$"),
    ):  # fmt: skip
        assert re.match(form, value(page, name)), (name, value(page, name))
    expect(page.locator("#status")).to_contain_text("28.png: ")
    overlay = page.locator("#overlay")
    assert overlay.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [28, 28]
    assert overlay.bounding_box() == page.locator("#preview").bounding_box()
    page.locator("#strength").fill("25")
    expect(overlay).to_have_css("opacity", "0.25")
    expect(page.locator("#strength-value")).to_have_text("25 %")
    page.select_option("#point", "sensitivity_95")  # no request is needed for it
    assert value(page, "above, sensitivity_95").startswith("\u2212400")
    page.select_option("#run", "another-run")
    expect(page.locator("#values")).not_to_contain_text(logit_of(network[1], noise(28, 7)))
    screenshot(page, "serve-one")
    assert all(address.startswith((server.url, "data:", "blob:")) for address in asked)


def test_an_example_and_dicom(page: Page, server: Served, files: Path) -> None:
    opened(page, server)
    page.locator("#examples button").nth(2).click()
    expect(page.locator("#result-title")).to_have_text("example-3.png")
    choose(page, files / "a.dcm")
    expect(page.locator("#result-title")).to_have_text("a.dcm")
    assert page.locator("#preview").evaluate("image => image.naturalWidth") == 60  # a browser cannot show DICOM itself


def downloaded(page: Page, path: Path) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    download.value.save_as(path)
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_no_name_in_the_table_is_a_formula(page: Page, server: Served, tmp_path: Path) -> None:
    opened(page, server)
    begins = ["=", "+", "-", "@", "  =", "\t=", "\u3000=", "\u200b=", "\ufeff|", *"\u2212|%\uff1d\uff0b\uff0d\uff20"]
    names = [*(f"{begin}1" for begin in begins), "a=1"]
    page.set_input_files("#files", [FilePayload(name=name, mimeType="image/png", buffer=b"none") for name in names])
    expect(page.locator("#status")).to_have_text(f"{len(names)} of {len(names)} images answered.")
    rows = downloaded(page, tmp_path / "table.csv")
    assert [row["file"] for row in rows] == [*(f"'{name}" for name in names[:-1]), "a=1"]


def test_the_page_and_python_take_the_same_texts_for_formulas(page: Page, server: Served) -> None:
    """Characters are tried before a sign and as the sign; but not what Unicode has not given out yet."""
    opened(page, server)
    known = [
        n
        for n in (*range(0x10000), *range(0x1D000, 0x1F000), *range(0xE0000, 0xE0200))
        if unicodedata.category(chr(n)) not in ("Cn", "Cs")
    ]
    script = """async ([known, rests]) => {
        const { isFormula } = await import("/page.js");
        return rests.map((rest) => known.filter((n) => isFormula(String.fromCodePoint(n) + rest)));
    }"""
    rests = ["=1", "1"]
    expected = [[n for n in known if is_formula(chr(n) + rest)] for rest in rests]
    assert page.evaluate(script, [known, rests]) == expected


def test_many_files_some_bad_and_a_table_of_them(page: Page, server: Served, files: Path, tmp_path: Path) -> None:
    opened(page, server)
    names = ["0.png", "zip.dcm", "1.png", "2.png", "<b>bold.png", "=formula.jpg", "large.png", "3.png", "a.dcm"]
    choose(page, *[files / name for name in names])
    expect(page.locator("#status")).to_have_text("9 of 9 images answered.")
    expect(page.locator("#counts")).to_contain_text("3 could not be used")
    cells = [row.locator("td").all_inner_texts() for row in page.locator("#rows tr").all()]
    assert [cell[0] for cell in cells] == names  # text, not markup
    assert "ZIP archive" in cells[1][1] and "no JPEG, PNG or DICOM" in cells[4][1] and "1 MiB" in cells[6][1]
    screenshot(page, "serve-many")
    rows = downloaded(page, tmp_path / "table.csv")
    assert [row["file"] for row in rows] == [name.replace("=", "'=") for name in names]
    assert all(row["logit"] or row["error"] for row in rows) and "not a medical device" in rows[0]["note"]
    assert f"{int(rows[0]['logit']):,}".replace("-", "\u2212") == cells[0][3]
    page.get_by_role("button", name="Show the map of 2.png").click()
    expect(page.locator("#result-title")).to_have_text("2.png")
    expect(page.locator("#rows tr")).to_have_count(9)  # the table stays


def test_a_bad_file_is_a_sentence_and_the_next_one_works(page: Page, server: Served, files: Path) -> None:
    opened(page, server)
    choose(page, files / "zip.dcm")
    expect(page.get_by_role("alert")).to_contain_text("zip.dcm: The file is a ZIP archive")
    expect(page.locator("#result")).to_be_hidden()
    screenshot(page, "serve-bad")
    choose(page, files / "large.png")
    expect(page.get_by_role("alert")).to_contain_text("large.png: The file is larger than 1 MiB")
    choose(page, files / "0.png")
    expect(page.locator("#result-title")).to_have_text("0.png")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_dropping(page: Page, server: Served) -> None:
    opened(page, server)
    content = list(png(noise()))
    page.evaluate(
        """content => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(content)], "dropped.png", { type: "image/png" }));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        content,
    )
    expect(page.locator("#result-title")).to_have_text("dropped.png")


def test_the_keyboard_alone(page: Page, server: Served, files: Path) -> None:
    # Playwright takes over file choosers as long as somebody listens, and is not awaited: listening only around the key
    # press lets Chromium's own dialog open first, now and then.
    page.on("filechooser", lambda _: None)
    opened(page, server)
    seen: list[str] = []
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.firstChild?.alt || ''"))
        if seen[-1] == "Example 2":
            break
    assert seen == ["run", "device", "point", "fill", "files", "Example 1", "Example 2"]
    page.keyboard.press("Enter")
    expect(page.locator("#result-title")).to_have_text("example-2.png")
    page.locator("#files").focus()
    assert page.locator("#drop").evaluate("drop => getComputedStyle(drop).outlineStyle") == "solid"  # one sees where
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files([str(files / "0.png"), str(files / "1.png")])
    expect(page.locator("#rows tr")).to_have_count(2)
    page.get_by_role("button", name="Show the map of 1.png").focus()
    page.keyboard.press("Space")
    expect(page.locator("#result-title")).to_have_text("1.png")
    page.locator("#strength").focus()
    page.keyboard.press("Home")
    expect(page.locator("#overlay")).to_have_css("opacity", "0")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_serious_for_axe(browser: Browser, server: Served, files: Path, theme: Any) -> None:
    context = browser.new_context(color_scheme=theme, viewport={"width": 1280, "height": 900})
    page = opened(context.new_page(), server)
    choose(page, files / "0.png", files / "zip.dcm", files / "1.png")
    expect(page.locator("#counts")).to_contain_text("1 could not be used")
    page.get_by_role("button", name="Show the map of 0.png").click()
    expect(page.locator("#result-title")).to_have_text("0.png")
    choose(page, files / "zip.dcm")
    expect(page.get_by_role("alert")).to_be_visible()
    choose(page, files / "0.png", files / "zip.dcm")
    expect(page.locator("#rows tr")).to_have_count(2)
    page.get_by_role("button", name="Show the map of 0.png").click()
    expect(page.locator("#result")).to_be_visible()
    assert accessibility_findings(page, impacts=("moderate", "serious", "critical")) == []
    screenshot(page, f"serve-{theme}")
    context.close()


def test_a_phone(browser: Browser, server: Served, files: Path) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = opened(context.new_page(), server)
    page.locator("#examples button").first.tap()
    expect(page.locator("#result-title")).to_have_text("example-1.png")
    page.mouse.wheel(0, 500)
    for name in ("0.png", "1.png"):
        assert page.evaluate("document.documentElement.scrollWidth") == 360, name  # nothing to push sideways
        choose(page, files / "0.png", files / "1.png")
        expect(page.locator("#rows tr")).to_have_count(2)
    note = page.locator("#note")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(note).to_be_in_viewport()  # always in sight
    page.get_by_role("button", name="Show the map of 1.png").tap()
    expect(page.locator("#result-title")).to_have_text("1.png")
    page.evaluate("scrollTo(0, 0)")
    screenshot(page, "serve-phone")
    context.close()


def test_a_token_is_asked_for_and_taken_from_the_address(page: Page, network: tuple[Path, IntegerNetwork]) -> None:
    with serving(network[0], token=TOKEN) as served:
        page.goto(served.url)
        expect(page.get_by_role("alert")).to_contain_text("token is missing or wrong")
        page.get_by_label("Access token").fill(TOKEN)
        page.get_by_role("button", name="Open").click()
        expect(page.locator("#examples button")).to_have_count(6)
        for written in TOKEN, quote(TOKEN, safe=""):
            page.evaluate("sessionStorage.clear()")
            page.goto("about:blank")
            page.goto(f"{served.url}#{written}")
            expect(page.locator("#examples button")).to_have_count(6)
            assert written not in page.url
        for wrong in "100%", "%ff", "\u00e9\uff1d":
            page.evaluate("sessionStorage.clear()")
            page.goto("about:blank")
            page.goto(f"{served.url}#{wrong}")
            expect(page.get_by_role("alert")).to_contain_text("token is missing or wrong")


def test_a_server_that_is_gone_is_named(page: Page, network: tuple[Path, IntegerNetwork], files: Path) -> None:
    with serving(network[0]) as served:
        opened(page, served)
    choose(page, files / "0.png")
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")


def test_what_is_unlike_the_training_images_is_said(page: Page, files: Path, tmp_path: Path) -> None:
    write_deploy(tmp_path / "run")
    plain = np.random.default_rng(0).integers(90, 110, (9, 28, 28), dtype=np.uint8)
    likeness = write_likeness(tmp_path / "run", plain)
    (files / "plain.png").write_bytes(png(plain[0]))
    (files / "28.png").write_bytes(png(noise(28, 7)))
    times = float(likeness.unlikeness(noise(28, 7)[None])[0])
    with serving(tmp_path / "run") as served:
        opened(page, served)
        choose(page, files / "plain.png")
        expect(page.locator("#result-title")).to_have_text("plain.png")
        expect(page.locator("#unlike")).to_be_hidden()
        choose(page, files / "28.png")
        expect(page.locator("#unlike")).to_contain_text("It is unlike the training images (")
        expect(page.locator("#status")).to_contain_text("times the limit): the answer may mean nothing.")
        expect(page.locator("#class")).not_to_be_empty()  # the answer is given
        assert accessibility_findings(page, impacts=("moderate", "serious", "critical")) == []
        choose(page, files / "plain.png", files / "28.png")
        expect(page.locator("#counts")).to_contain_text(", 1 unlike the training images")
        expect(page.locator("#rows tr").nth(1)).to_contain_text("(unlike the training images)")
        rows = downloaded(page, tmp_path / "table.csv")
    assert [row["unlike"] for row in rows] == ["0", "1"]
    assert float(rows[0]["unlikeness"]) <= 1 and float(rows[1]["unlikeness"]) == times > 1


class TestClasses:
    """A network of three classes and an imported one, whose file gives no probability; names are text of others."""

    NAMES = ("NORMAL", "<b>BACTERIA", "=VIRUS;")

    @pytest.fixture(scope="class")
    def networks(self, tmp_path_factory: pytest.TempPathFactory) -> dict[str, IntegerNetwork]:
        folder = tmp_path_factory.mktemp("classes")
        imported = {"head": Head(steps=[("multiply", [[-0.5]])]), "provenance": {"network": "M", "data": "model.onnx"}}
        return {
            str(folder / "three"): write_classes(folder / "three", list(self.NAMES)),
            str(folder / "other"): write_classes(folder / "other", list(self.NAMES), seed=5, **imported),
        }

    @pytest.fixture(scope="class")
    def several(self, networks: dict[str, IntegerNetwork]) -> Iterator[Served]:
        with serving(*map(Path, networks)) as served:
            yield served

    def test_an_image_its_classes_and_the_map_of_one(
        self, page: Page, several: Served, networks: dict[str, IntegerNetwork], files: Path
    ) -> None:
        outputs, foreign = (network.outputs(noise(28, 7)[None])[-1][0].tolist() for network in networks.values())
        (files / "28.png").write_bytes(png(noise(28, 7)))
        opened(page, several)
        choose(page, files / "28.png")
        expect(page.locator("#result-title")).to_have_text("28.png")
        with Accelerator(next(iter(networks)), "cpu") as accelerator:
            answers = accelerator.infer(noise(28, 7)[None])
        (answer,), label = answers.names, int(answers.classes[0])
        expect(page.locator("#class")).to_have_text(answer)
        expect(page.locator("#for-name")).to_have_text(f"speaks for {answer}")
        said = page.locator("#values").inner_text().replace("\u2212", "-").replace(",", "")
        for k, name in enumerate(self.NAMES):
            assert f"Probability of {name}; integer" in said and f"; {outputs[k]}\n" in said
        expect(page.locator("#status")).to_contain_text(f"28.png: {answer}, probability ")
        other = (label + 1) % 3
        page.select_option("#target", self.NAMES[other])
        expect(page.locator("#for-name")).to_have_text(f"speaks for {self.NAMES[other]}")
        expect(page.locator("#class")).to_have_text(answer)
        page.select_option("#point", "careful")
        expect(page.locator("#verdict-note")).to_contain_text("at the operating point careful, not a diagnosis")
        assert isinstance(answers.decision, Choice)
        careful = int(answers.decision.classes(answers.outputs, "careful")[0])
        expect(page.locator("#class")).to_have_text(self.NAMES[careful])
        screenshot(page, "serve-classes")
        page.select_option("#run", "other")
        expect(page.locator("#verdict-note")).to_have_text("is what the imported network gives, not a diagnosis")
        expect(page.locator("#class")).to_have_text(f"class {foreign.index(min(foreign))}")
        expect(page.locator("#about")).to_have_text("M, imported from model.onnx")
        said = page.locator("#values").inner_text() + page.locator("#status").inner_text()
        assert "robability" not in said and page.locator("#bar").is_hidden()
        assert page.locator("#note").inner_text() == "Research use only, not a medical device."

    @pytest.mark.parametrize("run", ["three", "other"])
    def test_a_table_of_all_integers(
        self, page: Page, several: Served, networks: dict[str, IntegerNetwork], files: Path, tmp_path: Path, run: str
    ) -> None:
        opened(page, several)
        page.select_option("#run", run)
        expect(page.locator("#head-share")).to_have_text({"three": "Probability", "other": "Result"}[run])
        names = ["0.png", "zip.dcm", "1.png", "2.png"]
        choose(page, *[files / name for name in names])
        expect(page.locator("#status")).to_have_text("4 of 4 images answered.")
        expect(page.locator("#counts")).to_contain_text("1 could not be used")
        rows = downloaded(page, tmp_path / "table.csv")
        folder = next(name for name in networks if name.endswith(run))
        with Accelerator(folder, "cpu") as accelerator:
            answers = accelerator.infer([files / name for name in names if name.endswith("png")])
        answered = [row for row in rows if not row["error"]]
        imported = run == "other"
        shares = answers.results if imported else answers.probabilities
        for row, name, outputs, share in zip(answered, answers.names, answers.outputs, shares, strict=True):
            assert row["class"] == name.replace("=", "'=") and "not a medical device" in row["note"]
            for k, called in enumerate(range(3) if imported else self.NAMES):
                assert int(row[f"output_{called}"]) == outputs[k]
                assert float(row[f"{'result' if imported else 'probability'}_{called}"]) == pytest.approx(share[k])
        assert accessibility_findings(page, impacts=("moderate", "serious", "critical")) == []


class TestValues:
    """Runs that are fed no pictures: files of values, a table of their answers, and nothing that only pictures have."""

    RULE = InputRule("float", "uint3", 0, (tuple(0.5 + n for n in range(7)),))

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("values")

    @pytest.fixture(scope="class")
    def mixed(self, network: tuple[Path, IntegerNetwork], folder: Path) -> Iterator[Served]:
        """Two runs of values, and one of pictures."""
        signs, floats = Input(1, 16, 1, "bipolar"), Input(2, 3, 1, "uint3")
        head = Head(steps=[("multiply", [[0.5]])], end="softmax")
        write_integers(folder / "signs", signs, 4, outputs=12, result_bits=32, head=head, fed_shape=[16])
        write_integers(folder / "floats", floats, 3, outputs=1, result_bits=32, head=Head(), rule=self.RULE)
        with serving(folder / "signs", folder / "floats", network[0], limits=Limits(inputs=40)) as served:
            yield served

    @pytest.fixture
    def tables(self, tmp_path: Path) -> Path:
        rng = np.random.default_rng(0)
        np.savetxt(tmp_path / "signs.csv", 2 * rng.integers(0, 2, (7, 16)) - 1, fmt="%d", delimiter=",")
        np.savez(tmp_path / "=signs.npz", x=(2 * rng.integers(0, 2, (3, 16)) - 1).astype(np.int8))
        np.save(tmp_path / "floats.npy", rng.uniform(-1, 8, (5, 2, 3)))
        (tmp_path / "bad.json").write_text("[[1, 2]]")
        np.savetxt(tmp_path / "many.csv", np.ones((41, 16)))
        return tmp_path

    def test_files_of_values(self, page: Page, mixed: Served, folder: Path, tables: Path, tmp_path: Path) -> None:
        page.goto(mixed.url)
        expect(page.locator("#drop")).to_contain_text("Drop files of values here")
        expect(page.locator("#hint")).to_contain_text(
            "bipolar (-1 or +1) of the shape (N, 16). A file has up to 40 inputs"
        )
        for gone in ("#fill", "#target", "#result", "footer span"):
            expect(page.locator(gone)).to_be_hidden()
        choose(page, tables / "signs.csv", tables / "bad.json", tables / "=signs.npz")
        expect(page.locator("#status")).to_have_text("10 inputs answered.")
        expect(page.locator("#counts")).to_contain_text("10 inputs: ")
        expect(page.locator("#counts")).to_contain_text("1 could not be used")
        names = [*(f"signs.csv[{n}]" for n in range(7)), "bad.json", *(f"=signs.npz[{n}]" for n in range(3))]
        cells = [row.locator("td").all_inner_texts() for row in page.locator("#rows tr").all()]
        assert [cell[0] for cell in cells] == names and "shape (1, 2), expected (N, 16)" in cells[7][1]
        assert accessibility_findings(page, impacts=("moderate", "serious", "critical")) == []
        screenshot(page, "serve-values")
        rows = downloaded(page, tmp_path / "table.csv")
        x = [np.loadtxt(tables / "signs.csv", delimiter=",").astype(np.int8), np.load(tables / "=signs.npz")["x"]]
        with Accelerator(folder / "signs", "cpu") as accelerator:
            answers = accelerator.infer(np.concatenate(x))
        answered = [row for row in rows if not row["error"]]
        for row, cell, name, outputs, results in zip(
            answered, cells[:7] + cells[8:], answers.names, answers.outputs, answers.results, strict=True
        ):
            assert row["class"] == cell[1] == name and "not a medical device" in row["note"] and "unlike" not in row
            assert [int(row[f"output_{k}"]) for k in range(12)] == outputs.tolist()
            assert [float(row[f"result_{k}"]) for k in range(12)] == pytest.approx(results)
            shown = cell[3].replace("\u2212", "-").replace(",", "").split()
            assert shown == [*map(str, outputs[:10]), "…"]
        assert [row["file"] for row in rows][-1] == "'=signs.npz[2]"
        choose(page, tables / "many.csv")  # a sentence, and no line of a table
        expect(page.get_by_role("alert")).to_contain_text("many.csv: The file holds 41 inputs, expected 40 at most")
        expect(page.locator("#many")).to_be_hidden()

    def test_runs_of_both_kinds_on_one_page(self, page: Page, mixed: Served, tables: Path, files: Path) -> None:
        page.goto(mixed.url)
        expect(page.locator("#hint")).to_contain_text("bipolar")
        choose(page, tables / "signs.csv")
        expect(page.locator("#rows tr")).to_have_count(7)
        page.select_option("#run", "floats")
        expect(page.locator("#many")).to_be_hidden()  # its files are no files of this one
        expect(page.locator("#hint")).to_contain_text("the host makes uint3 by 7 thresholds from 0.5 to 6.5")
        choose(page, tables / "floats.npy")
        expect(page.locator("#rows tr")).to_have_count(5)
        page.select_option("#run", "a-run")
        expect(page.locator("#drop")).to_contain_text("Drop X-rays here")
        expect(page.locator("#many")).to_be_hidden()
        expect(page.locator("#examples button")).to_have_count(6)
        choose(page, files / "0.png")
        expect(page.locator("#result-title")).to_have_text("0.png")
        page.select_option("#run", "signs")
        expect(page.locator("#result")).to_be_hidden()
        expect(page.locator("#examples button")).to_have_count(0)
