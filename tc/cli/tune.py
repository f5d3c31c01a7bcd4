"""`tensorc tune MODEL`: measure schedules of a model's kernels, live, until told to stop.

Progress goes to stderr: a table that is kept up to date on a terminal, a line now and then
elsewhere. Ctrl-C ends the run; the same command goes on with it. This module must not tune.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tc.cli.model import opened
from tc.cli.options import Asked, Settings, with_model, with_settings
from tc.cli.output import print_json, print_table, step
from tc.errors import TuningError

if TYPE_CHECKING:
    from tc.autotune.session import Job, Session

_FILE = click.Path(dir_okay=False, path_type=Path)
SHOWN = 12  # workloads on a terminal
EVERY = 5.0  # seconds between lines elsewhere

Tick = Callable[["Session", "Job"], None]


@click.command("tune")
@click.option("--trials", type=click.IntRange(1), default=512, show_default=True,
              help="Schedules to measure, of all kernels together.")  # fmt: skip
@click.option("--db", type=_FILE, metavar="FILE",
              help="The database (default: TC_TUNING_DB, else your own).")  # fmt: skip
@click.option("--time-limit", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="Stop measuring after so long.")  # fmt: skip
@click.option("--plot", type=_FILE, metavar="FILE",
              help="Draw the best so far of each kernel, as PNG.")  # fmt: skip
@click.option("--cluster", metavar="ADDRESS",
              help="Measure on dask workers: local:2, tcp://127.0.0.1:8786, tls://…")  # fmt: skip
@click.option("--report-model", is_flag=True,
              help="Tune nothing: how well does the cost model rank the unseen?")  # fmt: skip
@with_settings
@partial(with_model, required=False)
def command(
    settings: Settings,
    asked: Asked,
    trials: int,
    db: Path | None,
    time_limit: float | None,
    plot: Path | None,
    cluster: str | None,
    report_model: bool,
) -> None:
    """Find faster schedules for the kernels of MODEL, and keep them for every compilation.

    A run that was stopped goes on when the same command is given again. Schedules for a target
    that is not at hand are ranked, not measured.
    """
    if report_model:
        _report_model(settings, db)
        return
    if not asked.model:
        raise click.UsageError("Missing argument 'MODEL'.")
    if plot is not None:
        from tc.cli.roofline import require_matplotlib

        require_matplotlib()  # before hours of work
        if not plot.absolute().parent.is_dir():
            raise click.UsageError(f"--plot {plot}: there is no such folder")
    source = opened(settings, asked)
    if source.module is None:
        raise click.UsageError("a compiled model cannot be tuned: give what it was compiled from")
    from tc.frontend.tuning import tune_model

    with _live(settings, _Clock(trials, time_limit)) as tick:
        report = tune_model(
            source.module,
            target=asked.target,
            example_inputs=dict(source.kwargs) if source.kwargs else source.args,
            trials=trials,
            tuning_db=db,
            seed=settings.seed,
            time_limit=time_limit,
            precision=asked.precision,
            threads=asked.threads,
            cluster=cluster,
            tick=tick,
        )
    if settings.json:
        print_json(report.as_dict())
    else:
        print(report)
    if plot is not None:
        report.plot(plot)
    if report.problem:
        raise TuningError(report.problem)
    if report.interrupted:
        raise KeyboardInterrupt


def _report_model(settings: Settings, db: Path | None) -> None:
    from tc.autotune.database import Database
    from tc.autotune.model_report import report_model
    from tc.config import read

    said = "learning from what is left, and judging by what was kept"
    with Database.open(db or read().records, readonly=True) as database, step(settings, said):
        found = report_model(database, settings.seed)
    if settings.json:
        print_json({"scores": [each.as_dict() for each in found]})
        return
    columns = ("kept from it", "groups", "learned", "judged", "pairwise", "peak@1", "peak@5",
               "peak@10")  # fmt: skip
    rows = [
        (
            each.kept,
            str(each.score.groups),
            str(each.learned),
            str(each.judged),
            *(f"{getattr(each.score, n):.3f}" for n in ("pairwise", "peak1", "peak5", "peak10")),
        )
        for each in found
    ]
    print_table("The cost model on trials that it has not learned from", columns, rows)


@contextmanager
def _live(settings: Settings, clock: _Clock) -> Iterator[Tick | None]:
    if settings.quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _Lines(clock)
        return
    from rich.console import Console
    from rich.live import Live

    shown = _Shown(clock)
    console = Console(stderr=True)
    with Live("getting ready ...", console=console, refresh_per_second=4, transient=True) as live:
        yield lambda session, job: live.update(shown.table(session, job))


class _Clock:
    """Trials a minute since the first one, and how long the rest will take, `limit` at most."""

    def __init__(self, trials: int, limit: float | None) -> None:
        self.trials = trials
        self._limit = limit
        self._first: tuple[int, float] | None = None

    def text(self, done: int) -> str:
        if not done:
            return "ranking, for nothing can be measured here"
        now = time.monotonic()
        if self._first is None:
            self._first = (done, now)
        count, seconds = done - self._first[0], now - self._first[1]
        if not count or not seconds:
            return f"{done}/{self.trials} trials"
        rate = count / seconds
        left = (self.trials - done) / rate
        if self._limit is not None:
            left = max(0.0, min(left, self._limit - seconds))
        return f"{done}/{self.trials} trials, {60 * rate:.0f} a minute, {left:.0f} s left"


class _Lines:
    """A line on stderr every few seconds."""

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock
        self._last = 0.0

    def __call__(self, session: Session, job: Job) -> None:
        now = time.monotonic()
        if now - self._last >= EVERY or session.done >= self._clock.trials:
            self._last = now
            best = job.best
            ratio = "" if best is None or not best.ratio else f" (gain {1 / best.ratio:.2f})"
            text = f"{self._clock.text(session.done)}: {job.wanted.name}{ratio}"
            print(text, file=sys.stderr, flush=True)


class _Shown:
    """The best so far of each workload, as a table."""

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock

    def table(self, session: Session, job: Job) -> Any:
        """What `rich` shows."""
        from rich.table import Table

        table = Table(title=self._clock.text(session.done), title_justify="left")
        for name in ("kernel", "sizes", "share", "trials", "best", "gain", "of bound"):
            table.add_column(name, justify="left" if name in ("kernel", "sizes") else "right")
        for each in session.jobs[:SHOWN]:
            table.add_row(*_cells(session, each), style="bold" if each is job else None)
        return table


def _cells(session: Session, job: Job) -> list[str]:
    best = job.best
    count = str(sum(s.seed == session.seed for s in job.seen))
    head = [job.wanted.name[:32], job.context.sizes, f"{job.wanted.share:.0%}", count]
    if best is None or best.seconds is None or not best.ratio:
        return [*head, job.stopped[:30], "", ""]
    flops, moved = job.work()
    least = session.bound.seconds(flops / job.wanted.rate, moved)
    share = f"{least / best.seconds:.0%}" if least else ""
    return [*head, f"{best.seconds * 1e6:.1f} µs", f"{1 / best.ratio:.2f}", share]
