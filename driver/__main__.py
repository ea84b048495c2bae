"""`python -m driver`, the command line of a deploy folder: verify, infer, explain, bench. It needs only the folder."""

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    from driver.needed import require_packages

    require_packages()

import numpy as np

from contract.decision import Choice, point_names, require_point
from contract.errors import ConfigError, CxrflowError
from contract.files import refuses, spare
from contract.inputs import SUFFIXES, read_inputs
from contract.likeness import is_unlike
from contract.manifest import DISCLAIMER, Manifest
from contract.table import print_anything, shown, write_csv
from driver.accelerator import DEVICES, Accelerator, Answers
from driver.explain import FILLS, MAPS, explain_files, explained_row


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 1 where an image could not be answered."""
    parser = argparse.ArgumentParser(prog="python -m driver", description=DISCLAIMER)
    commands = parser.add_subparsers(dest="command", required=True)
    verify = commands.add_parser("verify", help="compare every golden logit")
    infer = commands.add_parser("infer", help="answer for image files")
    explain = commands.add_parser("explain", help="map what speaks for and against, as PNG and .npz")
    benchmark = commands.add_parser("bench", help="measure, and print JSON")
    for command in (verify, infer, explain, benchmark):
        command.add_argument("--folder", type=Path, default=Path(), help="deploy folder (default: this one)")
        command.add_argument("--device", choices=DEVICES, default="auto")
    for command in (infer, explain):
        command.add_argument("--point", help="name of an operating point (default: the run's own)")
    infer.add_argument("--twice", action="store_true", help="let each image through twice, and compare")
    infer.add_argument("files", nargs="+", type=Path, help="images or files of values, or folders of them")
    infer.add_argument("--csv", type=Path, help="also write the answers to this file")
    explain.add_argument("files", nargs="+", type=Path, help="images, or folders of them")
    explain.add_argument("--out", type=Path, default=Path("explained"), help="folder to write to (default: explained)")
    explain.add_argument("--fill", choices=FILLS, default=FILLS[0], help="what covers the image")
    explain.add_argument(
        "--class", dest="target", metavar="CLASS", help="name or number of the class to map (default: the answer)"
    )
    benchmark.add_argument("--seconds", type=float, default=1.0, help="per batch size")
    options = parser.parse_args(arguments)
    print_anything()
    try:
        if options.command == "infer" and options.csv is not None:
            spare_for_table(options.csv, options.folder, options.files)
        elif options.command == "explain":
            spare_for_maps(options.out, options.folder, options.files)
        with Accelerator(options.folder, options.device, twice=getattr(options, "twice", False)) as accelerator:
            work = {"verify": _verify, "infer": _infer, "explain": _explain, "bench": _bench}[options.command]
            code = int(work(accelerator, options))
            sys.stdout.flush()  # here, where a reader that has gone is no traceback
            return code
    except CxrflowError as err:
        print(f"error: {shown(str(err))}", file=sys.stderr)
        return err.exit_code
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _verify(accelerator: Accelerator, options: argparse.Namespace) -> int:
    count = accelerator.verify()
    print(f"{accelerator.device}: all {count} golden logits are equal")
    return 0


def _infer(accelerator: Accelerator, options: argparse.Namespace) -> int:
    rows, failures = answer(accelerator, expand(options.files), point=options.point)
    for row in rows:
        named = "logit" not in row and "results" not in row  # of these, the text says what it is
        texts = (f"{name} {text}" if named or name != "class" else text for name, text in cells(row).items())
        print("  ".join([shown(row["file"]), *texts, *filter(None, [remark(row)])]))
    print(DISCLAIMER)
    points = about_points(accelerator, options.point)
    if points:
        print(shown(points))
    if options.csv is not None:
        write_answers(options.csv, rows, accelerator, options.point)
    for message in failures.values():
        print(f"error: {shown(message)}", file=sys.stderr)
    return 1 if failures else 0


def _explain(accelerator: Accelerator, options: argparse.Namespace) -> int:
    try:
        files = expand(options.files)
        wanted = {"fill": options.fill, "target": options.target, "point": options.point}
        explained, failures = explain_files(accelerator, files, options.out, **wanted)
    except OSError as err:
        if not refuses(err) and err.errno != errno.EEXIST:
            raise
        raise ConfigError(
            f"{err.filename or options.out} cannot be written ({err.strerror}), expected a folder that you may "
            "write to, with room. Choose another with --out."
        ) from err
    for row in map(explained_row, explained):
        print(shown("  ".join(f"{key} {value}" for key, value in row.items())))
    print(DISCLAIMER)
    for message in failures.values():
        print(f"error: {shown(message)}", file=sys.stderr)
    return 1 if failures else 0


def _bench(accelerator: Accelerator, options: argparse.Namespace) -> int:
    from driver.bench import bench

    rails = None
    if accelerator.device == "board":
        import pynq

        rails = getattr(pynq, "get_rails", None)
    print(json.dumps(bench(accelerator, seconds=options.seconds, rails=rails), indent=2))
    return 0


def expand(paths: list[Path]) -> list[Path]:
    """Replace each folder by the files in it, sorted; hidden files are left out, and an empty folder stays."""
    files: list[Path] = []
    for path in paths:
        inside = (
            sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")) if path.is_dir() else []
        )
        files += inside or [path]
    return files


def spare_for_table(table: Path, folder: Path, paths: list[Path]) -> None:
    """Stop before --csv would replace an image or a file of the deploy folder, or put the table among the images.

    A new table may lie in the deploy folder, where this command line is at home, and replace an earlier one there.

    Raises:
        ConfigError: it would.
    """
    inputs = [*expand(paths), *(path / table.name for path in paths if path.is_dir())]
    spare([table], inputs if _is_ours(table) else [*inputs, folder], option="--csv")


def _is_ours(table: Path) -> bool:
    """Return whether a file that is there begins like a table of answers."""
    try:
        if not table.is_file():  # a pipe would be waited for
            return True
        with table.open("rb") as stream:
            return stream.read(7).startswith((b"file,", b'"file",'))
    except OSError:
        return True  # what cannot be read is refused as a place to write


def spare_for_maps(out: Path, folder: Path, paths: list[Path]) -> None:
    """Stop before --out would replace an image or an array of the deploy folder, or put maps among the images.

    Raises:
        ConfigError: it would.
    """
    files = expand(paths)
    names = [f"{file.name}.{kind}" for file in files for kind in MAPS]
    among = [path / name for path in paths if path.is_dir() for name in names]
    arrays = [folder / "reference.npz", folder / "golden.npz"]
    spare([out / name for name in names], [*files, *among, *arrays], option="--out")


def about_points(accelerator: Accelerator, point: str | None) -> str:
    """Say at which operating point it answers, and which others there are; nothing where there is one only."""
    own, *others = point_names(accelerator.manifest.decision)
    at = own if point is None else point
    rest = ", ".join(name for name in (own, *others) if name != at)
    found = described_point(accelerator.manifest, at)
    if "class" in found:
        what = f" ({found['class']} against the rest, margin {found['margin']:.4g})"
    elif "threshold" in found:
        what = f" (above a logit of {found['threshold']}, probability {found['probability']:.4f})"
    else:
        what = ""
    return f"Operating point: {at}{what}; --point takes {rest}, too." if others else ""


def described_point(manifest: Manifest, point: str | None) -> dict[str, Any]:
    """Return what an operating point is, JSON-able, None the run's own: its name, and the class and the margin by which
    that real logit must exceed all others, or of one logit the integer threshold and its probability.
    """
    decision = manifest.decision
    at = point_names(decision)[0] if point is None else point
    if isinstance(decision, Choice):
        one = decision.points[at]
        rule = {} if one is None else {"class": manifest.class_names[one.label], "margin": decision.real_margin(one)}
        return {"name": at, **rule}
    if decision is None:
        return {"name": at}
    threshold = decision.points[at]
    return {"name": at, "threshold": threshold, "probability": float(decision.probability(np.array(threshold)))}


def answer(
    accelerator: Accelerator, files: list[Path], *, point: str | None = None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return one JSON-able row per image that was answered for, and a message per file that could not be used.

    A file is an image; or one of any number of inputs, see `contract.inputs`, where the network reads no pictures, and
    of an imported one where all of them are by their names. `point` is the operating point that Accelerator.infer
    takes; where one was asked for, each row says which.
    """
    manifest = accelerator.manifest
    require_point(manifest.decision, point)
    if not manifest.reads_pictures or (
        manifest.head is not None and files and all(file.suffix.lower() in SUFFIXES for file in files)
    ):
        return [row for file in files for row in _answer_inputs(accelerator, file, point)], {}
    answers = accelerator.infer(files, point=point)
    failures = {str(files[i]): message for i, message in answers.failures.items()}
    return answer_rows(answers, [str(files[i]) for i in answers.index]), failures


def _answer_inputs(accelerator: Accelerator, file: Path, point: str | None) -> list[dict[str, Any]]:
    x = read_inputs(file, accelerator.manifest.fed, name=str(file))
    return answer_rows(accelerator.infer(x, point=point), [f"{file}[{i}]" for i in range(len(x))])


def answer_rows(answers: Answers, names: list[str]) -> list[dict[str, Any]]:
    """Return one JSON-able row per answer; `names` are those of its images."""
    rows = _rows(answers, names)
    if answers.unlikeness is not None:
        for row, times in zip(rows, answers.unlikeness.tolist(), strict=True):
            row.update(unlike=is_unlike(times), unlikeness=times)
    if answers.point is not None:
        for row in rows:
            row["operating_point"] = answers.point
    return rows


def _rows(answers: Answers, names: list[str]) -> list[dict[str, Any]]:
    if answers.head is not None:
        columns = zip(names, answers.names, answers.outputs, answers.results, strict=True)
        return [
            {"file": name, "class": answer, "outputs": outputs.tolist(), "results": results.tolist()}
            for name, answer, outputs, results in columns
        ]
    if isinstance(answers.decision, Choice):
        table = zip(names, answers.names, answers.probabilities, answers.outputs, strict=True)
        return [
            {
                "file": name,
                "class": answer,
                "probabilities": dict(zip(answers.class_names, each.tolist(), strict=True)),
                "outputs": outputs.tolist(),
            }
            for name, answer, each, outputs in table
        ]
    return [
        {"file": name, "logit": int(logit), "probability": float(p), "class": answer}
        for name, logit, p, answer in zip(names, answers.logits, answers.probability, answers.names, strict=True)
    ]


def cells(row: dict[str, Any]) -> dict[str, str]:
    """Return the texts of a row of an answer, without its file."""
    if "outputs" not in row:
        return {"logit": str(row["logit"]), "probability": f"{row['probability']:.4f}", "class": row["class"]}
    outputs = " ".join(map(str, row["outputs"]))
    if "probabilities" in row:
        each = " ".join(f"{p:.4f}" for p in row["probabilities"].values())
        return {"class": row["class"], "probabilities": each, "outputs": outputs}
    results = " ".join(f"{value:.6g}" for value in row["results"])
    return {"class": row["class"], "outputs": outputs, "results": results}


def remark(row: dict[str, Any]) -> str:
    """Return what is to be said beside an answer; nothing of most."""
    if not row.get("unlike"):
        return ""
    return f"unlike the training images ({row['unlikeness']:.3g} times the limit): the answer may mean nothing"


def write_answers(path: Path, rows: list[dict[str, Any]], accelerator: Accelerator, point: str | None) -> None:
    """Write a CSV file of answers, and where they were asked for at a `point`, what `described_point` says of it.

    Its columns are the same whatever was answered, and if nothing was.

    Raises:
        ConfigError: it cannot be written.
    """
    first = _some_row(accelerator, point)
    columns: dict[str, Callable[[dict[str, Any]], object]]  # heading -> what is below it
    if "outputs" not in first:
        columns = {name: itemgetter(name) for name in ("file", "logit", "probability", "class")}
    else:
        columns = {name: itemgetter(name) for name in ("file", "class")}
        classes = list(first.get("probabilities", ()))
        numbers = range(len(first["outputs"]))
        columns |= {f"probability_{name}": _item("probabilities", name) for name in classes}
        columns |= {f"output_{classes[k] if classes else k}": _item("outputs", k) for k in numbers}
        columns |= {f"result_{k}": _item("results", k) for k in range(len(first.get("results", ())))}
    if "unlike" in first:
        columns |= {"unlike": lambda row: int(row["unlike"]), "unlikeness": itemgetter("unlikeness")}
    if "operating_point" in first:
        described = described_point(accelerator.manifest, point)
        rule = {f"operating_point_{name}": value for name, value in described.items() if name != "name"}
        columns |= {"operating_point": itemgetter("operating_point"), **{name: _always(v) for name, v in rule.items()}}
    write_csv(path, list(columns), [[value(row) for value in columns.values()] for row in rows], option="--csv")


def _some_row(accelerator: Accelerator, point: str | None) -> dict[str, Any]:
    """Return what a row of an answer holds, with made-up values."""
    manifest = accelerator.manifest
    outputs = np.zeros((1, manifest.outputs), dtype=np.int64)
    unlikeness = accelerator.unlikeness(np.zeros((1, manifest.height, manifest.width), dtype=np.uint8))
    one = Answers(
        np.zeros(1, dtype=np.int64),
        outputs,
        manifest.decision,
        head=manifest.head,
        class_names=manifest.classes,
        unlikeness=unlikeness,
        point=point,
    )
    return answer_rows(one, [""])[0]


def _always(value: object) -> Callable[[dict[str, Any]], object]:
    return lambda row: value


def _item(name: str, key: int | str) -> Callable[[dict[str, Any]], object]:
    return lambda row: row[name][key]


if __name__ == "__main__":
    sys.exit(main())
