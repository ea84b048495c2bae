"""Run a sweep's trials side by side with Ray Tune, here or on a cluster; Optuna proposes them in a search.

What has ended is known from the run folders, not from Ray: starting again after any end, however violent, does what is
left. Trials that were under way go on at their last epoch, because a run does.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # we have our own progress
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")  # which prints C++ stacks where somebody ends us
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the rows are in the run folders
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # which waits for what the same signal may have ended
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # what hardware costs is known at a trial's end only

import optuna
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from contract.errors import ConfigError, CxrflowError
from cxrflow.console import Console, ProgressFunction
from cxrflow.experiment import Experiment
from cxrflow.runs import expect_imports
from cxrflow.sweep.ending import ends_within
from cxrflow.sweep.spec import Point, Search, Sweep
from cxrflow.sweep.table import rows
from cxrflow.sweep.trial import Trial

OBJECTIVES = {"monitor": "max", "lut_equivalents": "min", "images_per_s": "max"}
KNOCK_S = 5.0
END_S = 15.0  # Ray waits a minute for a server that the same signal has ended, and then ends us with a code of its own
GRACE_EPOCHS = 5  # that ASHA leaves every trial
INDEX = "choice "  # before the name of a field whose proposal is the number of a choice: choices may be lists


class SweepInterruptedError(CxrflowError):
    """Ctrl-C, or being terminated; what has ended is kept."""

    exit_code = 130


def drive(
    sweep: Sweep, base: Experiment, runs: Path, *, data: str, workers: int, address: str | None, console: Console
) -> None:
    """Run what is left of a sweep.

    Args:
        sweep: the file.
        base: its experiment.
        runs: folder for the runs of the trials.
        data: fingerprint of the X-rays.
        workers: trials at a time on this machine; each has one thread.
        address: of a Ray cluster that shares the file system, which then decides how many.
        console: told of the progress.

    Raises:
        ConfigError: the cluster cannot be reached.
        SweepInterruptedError: Ctrl-C, or being terminated.
    """
    runs = runs.resolve()

    def trial(config: dict[str, Any]) -> Trial:
        point = config["point"] if sweep.search is None else _proposed(sweep.search, config)
        return Trial(point, point.experiment(base, runs.parent), runs, data)

    if sweep.search is None:
        drive_points(list(sweep.points()), lambda point: trial({"point": point}), runs, workers, address, console)
        return
    space, config, left = _search(sweep.search, trial, runs)
    _drive(trial, space, config, left, sweep.size, runs, workers, address, console)


def drive_points(
    points: Sequence[Point],
    trial: Callable[[Point], Trial],
    runs: Path,
    workers: int,
    address: str | None,
    console: Console,
) -> None:
    """Run those of some points that have not ended; `trial` makes each one's, in `runs`. Otherwise as `drive`."""
    left = [point for point in points if trial(point).row() is None]
    # A process for many trials: starting one takes seconds, most of them for torch.
    space, config = {"point": tune.grid_search(left)}, tune.TuneConfig(reuse_actors=True)
    make = _of_point(trial)
    _drive(make, space, config, len(left), len(points), runs.resolve(), workers, address, console)


def _of_point(trial: Callable[[Point], Trial]) -> Callable[[dict[str, Any]], Trial]:
    return lambda config: trial(config["point"])


def _drive(
    trial: Callable[[dict[str, Any]], Trial],
    space: dict[str, Any],
    config: tune.TuneConfig,
    left: int,
    size: int,
    runs: Path,
    workers: int,
    address: str | None,
    console: Console,
) -> None:
    """Let Tune run the `left` of `size` trials."""
    if left <= 0:
        return
    scratch = runs / ".ray"
    watch = _Watch(trial, size - left, size)
    bounded = ends_within(END_S, lambda: console.error(str(watch.interrupted())), SweepInterruptedError.exit_code)
    with bounded, _cluster(workers, address), console.progress("trial") as progress:
        watch.show(progress)
        with contextlib.suppress(KeyboardInterrupt):
            tune.Tuner(
                tune.with_resources(tune.with_parameters(_work, trial=trial), {"cpu": 1}),
                param_space=space,
                tune_config=config,
                run_config=tune.RunConfig(name="tune", storage_path=str(scratch), verbose=0, callbacks=[watch]),
            ).fit()
    shutil.rmtree(scratch, ignore_errors=True)
    if watch.refused:
        console.warn(f"{len(watch.refused)} proposals are not allowed; the first, {watch.refused[0]}")
    if watch.ended < size:
        raise watch.interrupted()


def _search(
    search: Search, trial: Callable[[dict[str, Any]], Trial], runs: Path
) -> tuple[dict[str, Any], tune.TuneConfig, int]:
    """Return Tune's settings, with the space in the search itself, and how many trials are left."""
    space: dict[str, Any] = {}
    for field, domain in search.space.items():
        if domain.choice:
            space[INDEX + field] = tune.choice(range(len(domain.choice)))
        elif domain.integer:
            low, high = map(int, domain.ends)  # type: ignore[arg-type]
            space[field] = (tune.lograndint if domain.log else tune.randint)(low, high + 1)
        else:
            least, most = map(float, domain.ends)  # type: ignore[arg-type]
            space[field] = (tune.loguniform if domain.log else tune.uniform)(least, most)
    proposed = [found for row in rows(runs) if (found := _proposal(search, row["values"])) is not None]
    again = [proposal for proposal in proposed if trial(proposal).row() is None]
    left = search.trials - (len(proposed) - len(again))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    algorithm = Proposals(
        space=None,
        metric=list(OBJECTIVES),
        mode=list(OBJECTIVES.values()),
        points_to_evaluate=again or None,
        storage=JournalStorage(JournalFileBackend(str(runs / "optuna.journal"))),
        study_name="sweep",
        sampler=optuna.samplers.TPESampler(seed=search.seed + len(proposed), multivariate=True),
    )
    scheduler = ASHAScheduler("epoch", metric="monitor", mode="max", max_t=100_000, grace_period=GRACE_EPOCHS)
    config = tune.TuneConfig(
        search_alg=algorithm,
        num_samples=left,
        scheduler=scheduler if search.stop_hopeless else None,
        reuse_actors=True,
    )
    return space, config, left


class Proposals(OptunaSearch):
    """Optuna, told that a stopped trial is pruned: Tune would tell it figures that the trial does not have."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take the end of a trial, with what it reported last."""
        whole = result is not None and all(result.get(name) is not None for name in OBJECTIVES)
        super().on_trial_complete(trial_id, result if whole else None, error)


def _proposed(search: Search, config: dict[str, Any]) -> Point:
    """Return the point of a proposal."""
    return Point(
        tuple(
            (field, domain.choice[config[INDEX + field]] if domain.choice else config[field])
            for field, domain in search.space.items()
        )
    )


def _proposal(search: Search, values: dict[str, Any]) -> dict[str, Any] | None:
    """Return the proposal of a row's point, or None if the search is no longer for such points."""
    found = {}
    for field, domain in search.space.items():
        if field not in values:
            return None
        if domain.choice:
            written, value = (json.loads(json.dumps(one)) for one in (domain.choice, values[field]))  # as rows have it
            if value not in written:
                return None
            found[INDEX + field] = written.index(value)
        else:
            found[field] = values[field]
    return found


def _work(config: dict[str, Any], trial: Callable[[dict[str, Any]], Trial]) -> None:
    """Run one trial in a worker's process."""
    expect_imports()

    def on_epoch(row: dict[str, float]) -> None:
        tune.report({"epoch": int(row["epoch"]) + 1, "monitor": row["monitor"]})

    try:
        row = trial(config).run(on_epoch, node=ray.get_runtime_context().get_node_id())
    except CxrflowError:
        return  # its row says why; Ray would show the user a traceback
    tune.report({name: row[name] for name in OBJECTIVES} | {"epoch": 100_000})


class _Watch(tune.Callback):
    """Counts the trials that end, and writes the row of one that could not write its own."""

    def __init__(self, trial: Callable[[dict[str, Any]], Trial], ended: int, total: int) -> None:
        self._trial, self.ended, self._total = trial, ended, total
        self._progress: ProgressFunction = lambda done, total: None
        self.refused: list[str] = []  # why, of proposals that are no experiment

    def show(self, progress: ProgressFunction) -> None:
        """Tell `progress` from now on, and at once, so that the time left counts from here."""
        self._progress = progress
        progress(self.ended, self._total)

    def interrupted(self) -> SweepInterruptedError:
        """Return what to say of an end before the last trial's."""
        return SweepInterruptedError(
            f"the sweep was interrupted; {self.ended} of {self._total} trials have ended and are kept. "
            "Run the same command again to go on."
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what Tune keeps of it on disk: a bar on a terminal cannot be kept, and nobody reads it."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Take a trial that is over: finished, stopped by the scheduler, or failed with a row that says so."""
        self._end(trial, "stopped", "")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Take a trial whose process is gone."""
        self._end(trial, "failed", "its process ended without a word; is there enough memory?")

    def _end(self, trial: Any, status: str, error: str) -> None:
        self.ended += 1
        try:
            one = self._trial(trial.config)
        except ConfigError as err:  # numbers that do not go together: it has no run, and so no row
            self.refused.append(str(err))
        else:
            if one.row() is None:
                one.write(status, error=error)
        self._progress(self.ended, self._total)


@contextlib.contextmanager
def _cluster(workers: int, address: str | None) -> Iterator[None]:
    """Start Ray here, or connect to a cluster."""
    # Without "local" Ray joins whatever another program of this user has started here.
    here: dict[str, Any] = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        if address is not None:
            _knock(address)
        ray.init(
            **(here if address is None else {"address": address}), log_to_driver=False, logging_level=logging.ERROR
        )
    except SystemExit as stop:  # what Ray's own handler makes of SIGTERM, which it puts in the place of ours
        raise KeyboardInterrupt from stop
    except (OSError, ValueError, RuntimeError) as err:
        raise ConfigError(
            f"no Ray cluster answers at '{address}' ({' '.join(str(err).split())[:120]}). Start one with `ray start "
            "--head`, or leave --address out to work on this machine."
        ) from err
    try:
        _restore(handlers)  # Ray has put its own in their place
        yield
    finally:
        ray.shutdown()
        _restore(handlers)


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _knock(address: str) -> None:
    """Raise OSError or ValueError where nothing listens: Ray itself goes on trying for many minutes."""
    host, _, port = address.rpartition(":")
    if host:
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()
