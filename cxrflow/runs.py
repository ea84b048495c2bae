"""Run folders: every stage's results whole or not there, and nothing done twice.

A stage works in a folder of another name beside its place, which is renamed when it is whole. Its `stage.json` keeps
what the stage was made from and the hash of every file in it: a stage made from the same inputs is not run again, and
a file that somebody changed or removed afterwards is noticed instead of used.
"""

import atexit
import contextlib
import errno
import functools
import gc
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout

from contract.errors import ArtifactError, ConfigError, MismatchError
from contract.files import FULL, LONGEST_TEXT, hash_file, is_inside, parsed_json, read_text, refuses, write_whole
from cxrflow.stage_table import STAGES, TRAINING, Stage

REPOSITORY = Path(__file__).resolve().parent.parent
STAMP = "stage.json"
# Where stages lie in a run, for those who clear up what a killed command left.
PLACES = ("evaluation/*", *(row.folder.replace("BOARD", "*") for row in STAGES.values()))
NESTED = ("sim", "synth", "gates", "ip", "vivado", "synth_vivado", "bitstream")  # within a build of an earlier version
FILES = ("experiment.yaml", "trial.json", "interrupted.pt")  # of a run, beside its stages
MISMATCH = "mismatch.txt"  # what a stage said that was stopped because its integers differ


@functools.cache
def expect_imports() -> None:
    """Look for garbage more rarely, and not at the end: half a million objects of PyTorch and FINN are none."""
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)


@dataclass(frozen=True)
class Stamp:
    """What `stage.json` holds."""

    key: str  # hash of the inputs
    inputs: dict[str, Any]  # what decides the result; "reads" maps files of earlier stages to their hashes
    experiment: dict[str, Any]  # the experiment's sections that the stage belongs to
    files: dict[str, str]  # every file of the stage, relative, and its hash


@contextlib.contextmanager
def writing(folder: Path, *, option: str = "--runs") -> Iterator[None]:
    """Turn a full disk and a place that cannot be used into one sentence; `option` of the command line chose it."""
    try:
        yield
    except OSError as err:
        if refuses(err):
            raise unusable(err, folder, option) from err
        raise


def unusable(err: OSError, place: Path | None = None, option: str = "--runs") -> ConfigError:
    """Return the sentence about a path or a disk that the system refuses; `place` is where the work was."""
    path = err.filename if place is None else place
    if err.errno in FULL:
        return ConfigError(
            f"the disk that holds {path or 'the output'} is full ({err.strerror}). "
            "Free some space and run the same command again."
        )
    if place is None:
        return ConfigError(f"{path or 'a file'} cannot be used ({err.strerror}), expected a path that you may use.")
    return ConfigError(
        f"{err.filename or path} cannot be written ({err.strerror}), expected a folder that you may write to. "
        f"Choose another with {option}."
    )


def make_folder(folder: Path, *, option: str) -> None:
    """Make a folder that somebody asked for with `option`, if it is not there. Raises ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise unusable(err, folder, option) from err


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder, which need not exist yet, for this process alone."""
    try:
        place = Path(os.path.realpath(folder))  # which knows no ring of links
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = place.with_name(f".{place.name}.lock")
        held = FileLock(lock).acquire(blocking=False)
    except Timeout:
        if not lock.exists():  # where no file can be made at all, as in /proc
            raise unusable(OSError(errno.EACCES, os.strerror(errno.EACCES), str(lock)), folder.parent) from None
        raise ConfigError(
            f"another cxrflow is working in {folder}. Wait for it, or give this run another name."
        ) from None
    except OSError as err:
        raise unusable(err, folder.parent) from err
    with held:
        with writing(folder):
            _clear_up(folder)
        yield


def _clear_up(run: Path) -> None:
    """Put back, or remove, what a killed command left in a run folder that we hold; never what is not ours.

    A stage's `.NAME.old` without a NAME is the stage itself: the command ended between two renames. Beside a NAME it is
    the one before. A `.NAME.partial` is what nobody finished. A folder for stages in which none is was made for one.
    """
    for place in PLACES:
        above, _, name = place.rpartition("/")
        for parent in run.glob(above) if above else [run]:
            for aside in parent.glob(f".{name}.old"):
                stage = parent / aside.name.removeprefix(".").removesuffix(".old")
                if not stage.exists() and read_stamp(aside) is not None:
                    aside.rename(stage)
                elif aside.is_dir() or aside.is_symlink():
                    _remove(aside)
            for partial in (*parent.glob(f".{name}.partial"), *parent.glob(f".{name}.*.partial")):
                if partial.is_dir() and not partial.is_symlink():
                    _remove(partial)
                elif _PARTIAL_FILE.fullmatch(partial.name):
                    partial.unlink()
    for name in (*FILES, "report.html"):
        for partial in run.glob(f".{name}.*.partial"):
            partial.unlink()
    _remove(run / ".wave")
    holders = {str(holder) for place in PLACES for holder in PurePosixPath(place).parents if holder.name}
    for pattern in sorted(holders, key=lambda pattern: -pattern.count("/")):
        _remove_empty(run.glob(pattern))


_PARTIAL_FILE = re.compile(r"\..+\.\d+\.partial")  # contract.files.replacing


def parts_of(run: Path) -> list[Path]:
    """Return the folders and files of a run that commands read, there or not; pages are made from them."""
    return [run / name for name in sorted({place.partition("/")[0] for place in PLACES} | set(FILES))]


def run_stage(
    folder: Path,
    inputs: dict[str, Any],
    experiment: dict[str, Any],
    work: Callable[[Path], None],
    *,
    say: Callable[[str], None],
    name: str = "",
    keeps: tuple[str, ...] = (),
) -> bool:
    """Make `folder` by calling `work` on a temporary one, unless it is there already for the same inputs.

    Args:
        folder: where the result belongs.
        inputs: everything that decides the result.
        experiment: the sections of the experiment that later commands must share to use the result.
        work: makes the new folder that it is given.
        say: told what changed, when the stage is there for other inputs.
        name: of the stage, for people; the folder's if not given.
        keeps: folders in it that others leave there: the new one gets them from the old one.

    Returns:
        Whether `work` was called.

    Raises:
        ArtifactError: the stage is there, but its files are not those that were made.
    """
    stamp = read_stamp(folder)
    key = fingerprint(inputs)
    if stamp is not None and stamp.key == key:
        _check_files(folder, stamp)
        if stamp.experiment != experiment:  # data moved: another place, the same content
            with writing(folder):
                _write_stamp(folder, replace(stamp, experiment=experiment))
        return False
    if stamp is not None:
        say(f"{name or folder.name}: again, because {difference(stamp.inputs, inputs)}")

    def make(out: Path) -> None:
        try:
            work(out)
        except MismatchError as err:
            raise _keep_failed(out, folder.with_name(f"{folder.name}.failed"), err) from err
        _write_stamp(out, Stamp(key, inputs, experiment, _hash_folder(out)))
        for kept in keeps:
            if (folder / kept).is_dir():  # copied, so that at any moment one of the two folders is whole
                shutil.copytree(folder / kept, out / kept, symlinks=True)

    with writing(folder):
        replace_folder(folder, make)
    return True


def amend_stage(folder: Path, work: Callable[[Path], object]) -> None:
    """Let `work` change a copy of a finished stage, which then takes its place whole, as made from the same inputs."""
    stamp = read_stamp(folder)
    assert stamp is not None

    def amend(out: Path) -> None:
        shutil.copytree(folder, out, ignore=shutil.ignore_patterns(STAMP))
        work(out)
        _write_stamp(out, replace(stamp, files=_hash_folder(out)))

    with writing(folder):
        replace_folder(folder, amend)


def replace_folder(folder: Path, work: Callable[[Path], object]) -> None:
    """Make `folder` anew by calling `work` on a temporary one; what was there stays until the new one is whole."""
    partial = folder.with_name(f".{folder.name}.partial")
    _remove(partial)
    new = [above for above in folder.parents if not above.exists()]
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        work(partial)
    except BaseException:
        _remove(partial)
        _remove_empty(new)
        raise
    _replace(partial, folder)


def _keep_failed(partial: Path, failed: Path, err: MismatchError) -> MismatchError:
    """Keep what a stage had made when its integers turned out to differ; return the error that points there."""
    _remove(failed)
    text = str(err).replace(str(partial), str(failed))
    if not partial.exists():  # it was stopped before anything was made
        return MismatchError(text)
    partial.rename(failed)
    (failed / MISMATCH).write_text(f"{text}\n", encoding="utf-8")
    return MismatchError(text if str(failed) in text else f"{text} What was made is in {failed}.")


def require_stage(
    run: Path, board: str, name: str, experiment: dict[str, Any], stages: Mapping[str, Stage] = STAGES
) -> Stamp:
    """Return the stamp of a finished stage that is of this experiment and not stale, with the files that were made.

    Args:
        run: the run folder.
        board: whose stage.
        name: of the stage.
        experiment: the sections that the stage must have been made for.
        stages: that the run can have.

    Raises:
        ArtifactError: the stage or one that it needs is missing, altered, or made from what has since been made anew.
        ConfigError: the stage belongs to another experiment.
    """
    row = stages[name]
    folder = row.place(run, board)
    if not folder.exists() and (earlier := _first_missing(run, board, name, stages)) != name:
        require_files(stages[earlier].place(run, board), stages[earlier].command)
    stamp = require_files(folder, row.command)
    if stamp.experiment != experiment:
        raise ConfigError(
            f"{folder} was made for another experiment: {difference(stamp.experiment, experiment, most=4)}. "
            f"{_another_experiment(run, row.command, stages)}"
        )
    if (before := stale(run, board, name, stages)) is not None:
        raise ArtifactError(f"{folder} was made from an earlier {before}. Run `cxrflow {row.command}` again.")
    return stamp


def _another_experiment(run: Path, command: str, stages: Mapping[str, Stage]) -> str:
    """Return what to do about a stage of another experiment: a training has X-rays, an import a file."""
    if not any(row.front == TRAINING for row in stages.values()):
        return f"Run `cxrflow {command}` again, or `cxrflow import` with the file and options that it was made from."
    return f"Give {run / 'experiment.yaml'} (or the same --data), or start again with `cxrflow train`."


def _first_missing(run: Path, board: str, name: str, stages: Mapping[str, Stage]) -> str:
    """Return the first stage on the road to one that is not there, which is not there either."""
    for before in stages[name].reads:
        if not stages[before].place(run, board).exists():
            return _first_missing(run, board, before, stages)
    return name


def stale(run: Path, board: str, name: str, stages: Mapping[str, Stage] = STAGES) -> str | None:
    """Return the stage that has been made anew, to another result, since `name` was made from it; None if none has.

    A run that was copied without an earlier stage is as good as it was.
    """
    row = stages[name]
    stamp = read_stamp(row.place(run, board))
    for before, patterns in (*row.reads.items(), *row.may_read.items()):
        now = read_stamp(stages[before].place(run, board))
        if stamp is None or now is None:
            continue
        inside = f"{stages[before].place(run, board).relative_to(run)}/"
        used = {file: digest for file, digest in stamp.inputs.get("reads", {}).items() if file.startswith(inside)}
        if before in row.may_read and not used:
            continue  # it came later
        if used != matching(now, inside, patterns):
            return before
        if (earlier := stale(run, board, before, stages)) is not None:
            return earlier
    return None


def matching(stamp: Stamp, inside: str, patterns: tuple[str, ...]) -> dict[str, str]:
    """Return the hashes of a stage's files that are read, by their names in the run; `inside` is the stage's folder."""
    return {
        f"{inside}{file}": digest
        for file, digest in sorted(stamp.files.items())
        if any(fnmatchcase(file, pattern) for pattern in patterns)
    }


def require_layout(run: Path, board: str) -> None:
    """Stop at a build of an earlier version, which has other stages in it. Raises ArtifactError."""
    build = STAGES["build"].place(run, board)
    if found := nested(build):
        raise ArtifactError(
            f"{build} is of an earlier version of cxrflow, with {', '.join(found)} inside it, expected a folder of its "
            f"own for each. Run `cxrflow build` again: it keeps all of this as {build}.earlier."
        )


def nested(build: Path) -> list[str]:
    """Return the stages that lie in a build's folder, as earlier versions had them."""
    return [name for name in NESTED if (build / name / STAMP).is_file()]


def keep_nested(build: Path) -> Path | None:
    """Move a build of an earlier version aside, whole; return where it is now, None if there is none."""
    if not nested(build):
        return None
    aside, number = build.with_name(f"{build.name}.earlier"), 1
    while aside.exists():
        number += 1
        aside = build.with_name(f"{build.name}.earlier{number}")
    build.rename(aside)
    return aside


def require_files(folder: Path, command: str) -> Stamp:
    """Return the stamp of a finished stage whose files are those that were made. Raises ArtifactError."""
    stamp = read_stamp(folder)
    if stamp is None:
        raise ArtifactError(f"{folder} is not there or not finished. Run `cxrflow {command}` first.")
    _check_files(folder, stamp)
    return stamp


def read_stamp(folder: Path) -> Stamp | None:
    """Return what a finished stage was made from, or None if it is not a finished stage."""
    try:
        return _stamp(read_text(folder / STAMP, advice=""))
    except ArtifactError:
        return None


@functools.lru_cache(maxsize=32)  # a command asks for the same few again and again
def _stamp(text: str) -> Stamp | None:
    try:
        stamp = Stamp(**parsed_json(text))
        reads = stamp.inputs.get("reads", {})
        named = isinstance(stamp.key, str) and isinstance(stamp.experiment, dict) and _hashes(stamp.files | reads)
    except (ValueError, RecursionError, TypeError, AttributeError):
        return None
    return stamp if named else None


def _hashes(files: dict[str, str]) -> bool:
    """Whether these are names of files within the run, and hashes."""
    return all(is_inside(name) and isinstance(digest, str) for name, digest in files.items())


def _write_stamp(folder: Path, stamp: Stamp) -> None:
    write_whole(folder / STAMP, json.dumps(asdict(stamp), indent=2) + "\n")


def _check_files(folder: Path, stamp: Stamp) -> None:
    for name, digest in stamp.files.items():
        path = folder / name
        if path.is_file() and hash_file(path) == digest:
            continue
        found = "was changed" if path.exists() else "is missing"
        raise ArtifactError(
            f"{path} {found}, expected the file that its stage wrote. "
            f"Put it back, or delete {folder} and run the same command again."
        )


def difference(old: Any, new: Any, *, most: int = 1) -> str:
    """Name the first things that differ between two nested dicts, with their values where people can read them."""
    found = list(_differences(old, new, ""))
    more = f", and {len(found) - most} more" if len(found) > most > 1 else ""
    return "; ".join(found[:most]) + more


def _differences(old: Any, new: Any, where: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                yield from _differences(old.get(name), new.get(name), f"{where}.{name}" if where else name)
        return
    shown = [str(value) for value in (old, new)]
    unreadable = any(isinstance(value, dict) for value in (old, new)) or any(
        len(text) == 64 or len(text) > LONGEST_TEXT for text in shown
    )
    where = where[:LONGEST_TEXT]
    yield f"{where} has changed" if unreadable else f"{where} was {shown[0]}, now {shown[1]}"


def fingerprint(inputs: dict[str, Any]) -> str:
    """Return the sha256 of JSON-able `inputs`."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _hash_folder(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hash_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def git_commit() -> str | None:
    """Return the commit of our checkout, or None outside one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _replace(new: Path, old: Path) -> None:
    """Put `new` in the place of `old`, which may exist."""
    aside = old.with_name(f".{old.name}.old")
    _remove(aside)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    _remove(aside)


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of the folders, the inner ones first, in which nothing is."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _remove(folder: Path) -> None:
    """Remove a folder of ours; of a link that somebody put in its place, the link."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
