"""`python -m driver`, the command line of a deploy folder: verify, infer, explain, bench. It needs only the folder."""

import argparse
import errno
import json
import sys
from pathlib import Path
from typing import Any

from contract.errors import ConfigError, CxrflowError
from contract.files import UNUSABLE
from contract.manifest import DISCLAIMER
from contract.table import print_anything, shown, write_csv
from driver.accelerator import DEVICES, Accelerator, Answers
from driver.explain import FILLS, explain_files, explained_row

COLUMNS = ("file", "logit", "probability", "class")  # of answers


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
    infer.add_argument("--twice", action="store_true", help="let each image through twice, and compare")
    infer.add_argument("files", nargs="+", type=Path, help="images, or folders of them")
    infer.add_argument("--csv", type=Path, help="also write the answers to this file")
    explain.add_argument("files", nargs="+", type=Path, help="images, or folders of them")
    explain.add_argument("--out", type=Path, default=Path("explained"), help="folder to write to (default: explained)")
    explain.add_argument("--fill", choices=FILLS, default=FILLS[0], help="what covers the image")
    benchmark.add_argument("--seconds", type=float, default=1.0, help="per batch size")
    options = parser.parse_args(arguments)
    print_anything()
    try:
        with Accelerator(options.folder, options.device, twice=getattr(options, "twice", False)) as accelerator:
            work = {"verify": _verify, "infer": _infer, "explain": _explain, "bench": _bench}[options.command]
            return int(work(accelerator, options))
    except CxrflowError as err:
        print(f"error: {shown(str(err))}", file=sys.stderr)
        return err.exit_code


def _verify(accelerator: Accelerator, options: argparse.Namespace) -> int:
    count = accelerator.verify()
    print(f"{accelerator.device}: all {count} golden logits are equal")
    return 0


def _infer(accelerator: Accelerator, options: argparse.Namespace) -> int:
    files = expand(options.files)
    answers = accelerator.infer(files)
    rows = answer_rows(accelerator, answers, files)
    for row in rows:
        print(f"{shown(row['file'])}  logit {row['logit']}  probability {row['probability']:.4f}  {row['class']}")
    print(DISCLAIMER)
    if options.csv is not None:
        write_csv(options.csv, COLUMNS, [[row[name] for name in COLUMNS] for row in rows], option="--csv")
    for message in answers.failures.values():
        print(f"error: {shown(message)}", file=sys.stderr)
    return 1 if answers.failures else 0


def _explain(accelerator: Accelerator, options: argparse.Namespace) -> int:
    try:
        explained, failures = explain_files(accelerator, expand(options.files), options.out, fill=options.fill)
    except OSError as err:
        if err.errno not in (*UNUSABLE, errno.EEXIST):
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


def answer_rows(accelerator: Accelerator, answers: Answers, files: list[Path]) -> list[dict[str, Any]]:
    """Return one JSON-able row per answered file."""
    names = accelerator.manifest.class_names
    return [
        {"file": str(files[i]), "logit": int(logit), "probability": float(p), "class": names[c]}
        for i, logit, p, c in zip(answers.index, answers.logits, answers.probability, answers.classes, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main())
