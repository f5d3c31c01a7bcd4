"""Tuning a model: its workloads alone first, then the finalists inside the real program.

The model comes as a `Subject`, which knows its workloads and can time itself under any choice of
schedules. This module must not know any framework, nor print.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from tc.autotune.cost_model import CostModel
from tc.autotune.database import Database
from tc.autotune.history import groups_of
from tc.autotune.measure import BusyError
from tc.autotune.predict import best_predicted, predict
from tc.autotune.report import TuningReport, WorkloadReport, curve_of
from tc.autotune.rows import TargetRow, Versions
from tc.autotune.session import Bound, Job, Measures, Session, Wanted
from tc.autotune.static import Throughput
from tc.errors import ScheduleError, TuningError, describe
from tc.frozen import frozen
from tc.schedule.foreign import read_schedule
from tc.schedule.step import Schedule

GOOD_ENOUGH: Final = 0.99  # of the default's time: less than that is not told from noise
FINALISTS: Final = 2
MOST: Final = (1 << 63) - 1  # which the database can keep


class NoChoiceError(TuningError):
    """There is nothing to tune."""


@frozen
class Timing:
    """A whole program's seconds, and those of its workloads by hash, all calls together."""

    total: float
    workloads: Mapping[str, float]


class Subject(Protocol):
    """A model that is tuned."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def inputs(self) -> str:
        """The shapes that it is tuned with, for people."""

    def wanted(self) -> Sequence[Wanted]:
        """Its workloads."""

    def time(self, choices: Sequence[Mapping[str, Schedule]]) -> list[Timing]:
        """The program with each of these choices (hash -> schedule), measured in turns.

        An empty list where it cannot run here.
        """


@frozen
class Plan:
    """What a run may use: trials of all workloads together, seconds, and its seed."""

    trials: int
    seed: int = 0
    time_limit: float | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("trials", self.trials, 1), ("seed", self.seed, 0)):
            if type(value) is not int or not least <= value <= MOST:
                why = f"not a whole number from {least} to {MOST}"
                raise TuningError(describe(f"{name}={value!r}", why=why, way_out="give one"))
        limit = self.time_limit
        if limit is not None and not (isinstance(limit, (int, float)) and limit > 0):
            why = "not a number of seconds above 0"
            raise TuningError(describe(f"time_limit={limit!r}", why=why, way_out="give one"))


def tune(
    subject: Subject,
    database: Database,
    target: TargetRow,
    versions: Versions,
    threads: int,
    plan: Plan,
    measurer: Measures,
    wanted: Sequence[Wanted],
    *,
    bound: Bound | None = None,
    base: CostModel | None = None,
    tick: Callable[[Session, Job], None] | None = None,
) -> TuningReport:
    """Tune a model on the machine at hand, or on those that the measurer has.

    Args:
        wanted: the subject's workloads.
        tick: called after each trial.

    Raises:
        NoChoiceError: nothing in the model has a choice of schedules.
        TuningError: the database fails.
    """
    start = time.monotonic()
    session = _session(subject, database, target, versions, threads, plan, wanted, bound, base)
    stopped, interrupted, problem = False, False, ""
    try:
        session.run(measurer, plan.trials, plan.time_limit, tick)
    except KeyboardInterrupt:
        stopped = interrupted = True
    except BusyError as error:
        stopped, problem = True, error.message
    chosen: dict[str, Schedule] = {}
    whole: tuple[Timing, Timing] | None = None
    if not stopped:
        chosen, whole = finals(subject, session)
        if whole is not None:
            _enter(subject, session, chosen, whole, plan.seed)
    seconds = (None, None) if whole is None else (whole[0].total, whole[1].total)
    report = _summary(subject, session, plan, start, chosen, "tuned")
    return replace(
        report,
        trials=session.done,
        measured=session.measured,
        search_seconds=session.search_seconds,
        default_seconds=seconds[0],
        tuned_seconds=seconds[1],
        finished=not stopped and (session.done >= plan.trials or _all_exhausted(session)),
        interrupted=interrupted,
        problem=problem,
    )


def predicted(
    subject: Subject,
    database: Database,
    target: TargetRow,
    versions: Versions,
    threads: int,
    plan: Plan,
    wanted: Sequence[Wanted],
    throughput: Throughput,
    base: CostModel,
    *,
    tick: Callable[[Session, Job], None] | None = None,
) -> TuningReport:
    """Rank schedules of a model for a target that is not at hand; its trials are candidates.

    Args:
        base: the model to rank by where the database has no trials of other machines.

    Raises:
        NoChoiceError, TuningError: as `tune`.
    """
    start = time.monotonic()
    session = _session(subject, database, target, versions, threads, plan, wanted, None, base)
    model = CostModel.learn(groups_of(database), plan.seed, base)
    whole = predict(session, model, throughput, plan.trials, plan.time_limit, tick)
    found = [(job.key.hash, best_predicted(session, job)) for job in session.jobs]
    chosen = {key: best for key, best in found if best is not None}
    report = _summary(subject, session, plan, start, chosen, "predicted")
    return replace(report, finished=whole)


def _summary(
    subject: Subject,
    session: Session,
    plan: Plan,
    start: float,
    chosen: Mapping[str, Schedule],
    word: str,
) -> TuningReport:
    """The report of a run that measured nothing: all its time went to searching.

    Args:
        word: for what was chosen instead of a default.
    """
    seconds = time.monotonic() - start
    return TuningReport(
        model=subject.name,
        target=session.target.target,
        threads=session.threads,
        database=str(session.database.path),
        seed=plan.seed,
        trials=0,
        seconds=seconds,
        search_seconds=seconds,
        default_seconds=None,
        tuned_seconds=None,
        workloads=tuple(_report(job, chosen, session, word) for job in session.jobs),
    )


def _session(
    subject: Subject,
    database: Database,
    target: TargetRow,
    versions: Versions,
    threads: int,
    plan: Plan,
    wanted: Sequence[Wanted],
    bound: Bound | None,
    base: CostModel | None,
) -> Session:
    """A session of the workloads that have a choice."""
    session = Session(
        database, target, versions, threads, wanted, seed=plan.seed, bound=bound, base=base
    )
    session.jobs = [job for job in session.jobs if job.space.size() > 1]
    if not session.jobs:
        raise NoChoiceError(
            describe(f"model {subject.name}", why="no kernel of it has a choice of schedules")
        )
    return session


def finals(
    subject: Subject, session: Session
) -> tuple[dict[str, Schedule], tuple[Timing, Timing] | None]:
    """What is best inside the program, by hash, and the program's time without and with it.

    Where the program cannot be timed, each workload's best, and None.

    A workload keeps its default unless a finalist is faster there too; all of them do if the
    program as a whole is not.
    """
    ranked: dict[str, list[Schedule]] = {}
    for job in session.jobs:
        best = _best(job)
        if best:
            ranked.setdefault(job.key.hash, best)
    rounds = [
        {key: best[min(place, len(best) - 1)] for key, best in ranked.items()}
        for place in range(FINALISTS if any(len(b) > 1 for b in ranked.values()) else 1)
    ]
    timings = subject.time([{}, *rounds] if ranked else [{}])
    if not timings:
        return {key: best[0] for key, best in ranked.items()}, None
    if not ranked:
        return {}, (timings[0], timings[0])
    chosen = {}
    for key in ranked:
        own = timings[0].workloads.get(key, 0.0)
        found = [
            (timing.workloads.get(key, own), place) for place, timing in enumerate(timings[1:])
        ]
        seconds, place = min(found)
        if seconds < own * GOOD_ENOUGH:
            chosen[key] = rounds[place][key]
    if not chosen:
        return {}, (timings[0], timings[0])
    without, with_ = subject.time([{}, chosen])
    if with_.total > without.total:
        return {}, (without, without)
    return chosen, (without, with_)


def _best(job: Job) -> list[Schedule]:
    """The finalists of a workload: those that beat the default by more than noise."""
    good = [s for s in job.seen if s.ratio is not None and s.ratio < GOOD_ENOUGH]
    good.sort(key=lambda s: (s.ratio or 0.0, s.id))
    found: list[Schedule] = []
    for each in good:
        with contextlib.suppress(ScheduleError):  # somebody else has written into the file
            found.append(read_schedule(each.schedule))
        if len(found) == FINALISTS:
            break
    return found


def _enter(
    subject: Subject,
    session: Session,
    chosen: Mapping[str, Schedule],
    whole: tuple[Timing, Timing],
    seed: int,
) -> None:
    """Note what was chosen, and the model's times."""
    database, first = session.database, session.jobs[0].context
    (row,) = database.query("SELECT id FROM targets WHERE fingerprint = ?", (first.target,))
    number = database.put_model(
        {
            "name": subject.name,
            "target_id": row["id"],
            "threads": session.threads,
            "inputs": subject.inputs,
            "tc_version": first.versions.tc,
            "llvm_version": first.versions.llvm,
            "default_seconds": whole[0].total,
            "tuned_seconds": whole[1].total,
            "seed": seed,
        }
    )
    for job in session.jobs:
        best = chosen.get(job.key.hash, job.space.default.schedule)
        if any(s.schedule == str(best) and s.ratio is not None for s in job.seen):
            database.select(job.context, str(best), number)


def _all_exhausted(session: Session) -> bool:
    return all(job.exhausted for job in session.jobs)


def _report(
    job: Job, chosen: Mapping[str, Schedule], session: Session, word: str
) -> WorkloadReport:
    own = sorted((s for s in job.seen if s.seed == session.seed), key=lambda s: s.number)
    best = job.best
    picked = chosen.get(job.key.hash)
    flops, moved = job.work()
    least = session.bound.seconds(flops / job.wanted.rate, moved)
    seconds = best.seconds if best is not None else None
    default = job.default_seconds
    if best is not None and best.seconds and best.ratio:
        default = best.seconds / best.ratio  # beside it: another time may have been a slower one
    return WorkloadReport(
        name=job.wanted.name,
        family=job.space.family,
        sizes=job.context.sizes,
        calls=job.wanted.calls,
        share=job.wanted.share,
        space=job.space.size(),
        trials=len(own),
        failed=sum(s.ratio is None for s in own),
        default_seconds=default,
        best_seconds=seconds,
        gain=1 / best.ratio if best is not None and best.ratio else 1.0,
        fraction=least / seconds if least and seconds else None,
        chosen="default" if picked is None else word,
        schedule=str(picked or job.space.default.schedule),
        curve=curve_of([s.ratio for s in own]),
        problem=job.stopped,
    )
