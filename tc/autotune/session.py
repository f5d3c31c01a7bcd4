"""A tuning run: whose turn it is, what is proposed, measured and committed, until the end.

What the run does next follows from the database and the seed alone, so that one that was killed
goes on as if it had not been. This module must not know models, nor print.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from tc.autotune.bench import Task
from tc.autotune.cost_model import CostModel
from tc.autotune.database import Database
from tc.autotune.features import Work, device_features, features
from tc.autotune.history import (
    Seen,
    batch_of,
    before,
    enter,
    good_elsewhere,
    groups_of,
    run_hash,
    seen_of,
    trials_of_run,
)
from tc.autotune.measure import BusyError, Outcome
from tc.autotune.rows import COLD, FAILED, HOT, OK, Context, TargetRow, Trial, Versions
from tc.autotune.search import Progress, next_task, propose
from tc.autotune.space import Candidate, Space
from tc.autotune.workload import Key, checked_sizes, key_of, row_of, sizes_text, work_at
from tc.errors import TuningError, describe
from tc.frozen import frozen
from tc.pipeline import Workload
from tc.schedule.step import Schedule

BATCH: Final = 16
MOST_DISTURBED: Final = 32  # candidates in a row


class Measures(Protocol):
    """What measures a batch, see `tc.autotune.measure.Measurer`."""

    def get_ready(self) -> None: ...

    def measure(self, task: Task, schedules: Sequence[str]) -> Iterator[Outcome]: ...


@frozen
class Wanted:
    """A workload to tune, as a model has it.

    Attributes:
        sizes: of its symbols, in the order of its key.
        calls: how often one call of the model runs it.
        share: of the model's time, 0 to 1.
        cold: whether its constants come from memory at each call.
        rate: how many times the rate of f32 the instructions for its products have.
    """

    name: str
    workload: Workload
    sizes: tuple[int, ...]
    calls: int = 1
    share: float = 1.0
    cold: bool = False
    rate: int = 1


@frozen
class Bound:
    """Rates of the machine, for shares of the bound: FLOP/s and byte/s; 0: not known."""

    flops: float = 0.0
    bytes: float = 0.0

    def seconds(self, flops: float, moved: float) -> float:
        """The least time that so much work takes; 0 where it is not known."""
        if not self.flops or not self.bytes:
            return 0.0
        return max(flops / self.flops, moved / self.bytes)


@dataclass(slots=True)
class Job:
    """A workload on its way.

    Attributes:
        default_seconds: of one call, as last measured beside a candidate.
        stopped: why it cannot be measured; "".
        floor: the least time of the default that was seen beside a candidate.
    """

    wanted: Wanted
    key: Key
    space: Space
    context: Context
    seen: list[Seen] = field(default_factory=list)
    default_seconds: float | None = None
    exhausted: bool = False
    stopped: str = ""
    floor: float = math.inf

    @property
    def best(self) -> Seen | None:
        """The trial with the least ratio to the default."""
        good = [s for s in self.seen if s.ratio is not None]
        return min(good, key=lambda s: (s.ratio or 0.0, s.id), default=None)

    def work(self) -> tuple[float, float]:
        """(floating-point operations, bytes) of a call at its sizes."""
        return work_at(row_of(self.wanted.workload, self.key, "", ""), self.wanted.sizes)


class Session:
    """The run of one seed over the workloads of a model.

    Attributes:
        jobs: one for each workload.
        done: trials of this run, those of its earlier lives too.
        measured: trials that were made since it began.
        search_seconds: spent on deciding what to measure.
    """

    def __init__(
        self,
        database: Database,
        target: TargetRow,
        versions: Versions,
        threads: int,
        wanted: Sequence[Wanted],
        *,
        seed: int = 0,
        batch: int = BATCH,
        base: CostModel | None = None,
        bound: Bound | None = None,
    ) -> None:
        """Enter the workloads, and read what is known of them.

        Args:
            base: the model to rank by until there are trials enough.
        """
        self.database = database
        self.target = target
        self.threads = threads
        self.seed = seed
        self.batch = batch
        self.bound = bound or Bound()
        self.measured = 0
        self.search_seconds = 0.0
        self._disturbed = 0
        self._base = base or CostModel()
        self._learned: tuple[int | None, CostModel] | None = None
        self._kept: dict[Context, tuple[int, list[Candidate]]] = {}
        self._numbers: dict[Context, dict[str, list[float]]] = {}
        database.put_target(target)
        self.jobs = [self._job(w, versions) for w in wanted]
        self._run = run_hash((job.context for job in self.jobs), seed)
        self.done = trials_of_run(database, self._run)

    def run(
        self,
        measurer: Measures,
        trials: int,
        time_limit: float | None = None,
        tick: Callable[[Session, Job], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Measure until the run has as many trials, time is up, or nothing is left to try.

        Args:
            tick: called after each trial.
        """
        end = None if time_limit is None else clock() + time_limit
        measurer.get_ready()
        while self.done < trials and (end is None or clock() < end):
            start = clock()
            job = self._next()
            if job is None:
                return
            batch, proposals = self._proposals(job)
            self.search_seconds += clock() - start
            if not proposals:
                job.exhausted = True
                continue
            proposals = proposals[: trials - self.done]
            self._measure(measurer, job, batch, proposals, end, tick, clock)

    def _measure(
        self,
        measurer: Measures,
        job: Job,
        batch: int,
        proposals: Sequence[tuple[int, Candidate]],
        end: float | None,
        tick: Callable[[Session, Job], None] | None,
        clock: Callable[[], float],
    ) -> None:
        outcomes = measurer.measure(self.task(job), [str(c.schedule) for _, c in proposals])
        try:
            for number, candidate in proposals:
                try:
                    outcome = next(outcomes)
                except BusyError:
                    raise
                except TuningError as error:  # of this workload; others may fare better
                    job.stopped, job.exhausted = error.message, True
                    return
                if outcome.disturbed:
                    self._wait(outcome)  # and go on: the batch is not complete without it
                else:
                    self._commit(job, candidate, batch * self.batch + number, outcome)
                    self._disturbed = 0
                    if tick is not None:
                        tick(self, job)
                if end is not None and clock() >= end:
                    break
        finally:
            close = getattr(outcomes, "close", None)
            if close is not None:
                close()  # which ends the process, whatever ended the loop

    def _wait(self, outcome: Outcome) -> None:
        """Note that a candidate could not be measured; give up where that goes on and on."""
        self._disturbed += 1
        if self._disturbed > MOST_DISTURBED:
            raise BusyError(
                describe(
                    "tuning",
                    why=outcome.error,
                    way_out="end it, or wait; the same command goes on where this one stopped",
                )
            )

    def task(self, job: Job) -> Task:
        """What the measuring process is told of a job."""
        wanted = job.wanted
        return Task(
            job.key.text,
            job.key.constants,
            wanted.sizes,
            checked_sizes(wanted.workload.lowered.func.symbols, wanted.sizes),
            str(job.space.default.schedule),
            self.target.target,
            self.threads,
            wanted.cold,
            floor=job.floor,
        )

    def _job(self, wanted: Wanted, versions: Versions) -> Job:
        key = key_of(wanted.workload)
        space = Space(wanted.workload)
        row = row_of(wanted.workload, key, wanted.name, space.family)
        self.database.put_workload(row)
        context = Context(
            key.hash, self.target.fingerprint, self.threads, sizes_text(wanted.sizes), versions
        )
        job = Job(wanted, key, space, context)
        self._read(job)
        return job

    def _read(self, job: Job) -> None:
        job.seen = seen_of(self.database, job.context)
        first = next((s for s in job.seen if s.seconds and s.ratio), None)
        if first is not None and first.seconds and first.ratio:
            job.default_seconds = first.seconds / first.ratio
        job.floor = min((s.default for s in job.seen if s.default), default=math.inf)

    def _next(self) -> Job | None:
        """The job of a batch that was cut short, else that which promises most."""
        for job in self.jobs:
            self._read(job)
        for job in self.jobs:
            if not job.exhausted and self._open_batch(job):
                return job
        number = next_task([self._progress(job) for job in self.jobs])
        return None if number is None else self.jobs[number]

    def _progress(self, job: Job) -> Progress:
        """The curve of a job, in seconds of a call of the model."""
        own = sorted((s for s in job.seen if s.seed == self.seed), key=lambda s: s.number)
        scale = (job.default_seconds or 0.0) * job.wanted.calls
        curve, best = [], 1.0
        for number, s in enumerate(own):
            best = min(best, s.ratio or best)
            if (number + 1) % self.batch == 0 or number + 1 == len(own):
                curve.append(best * scale)
        flops, moved = job.work()
        floor = self.bound.seconds(flops / job.wanted.rate, moved) * job.wanted.calls
        return Progress(tuple(curve), min(floor, curve[-1]) if curve else 0.0, job.exhausted)

    def _open_batch(self, job: Job) -> bool:
        """Whether something is left of the batch that a job is in; a whole one needs no look."""
        own = [s for s in job.seen if s.seed == self.seed]
        batch, horizon = batch_of(job.seen, self.seed, self.batch)
        count = sum(s.number // self.batch == batch for s in own)
        return 0 < count < self.batch and bool(self._left(job, batch, horizon))

    def _proposals(self, job: Job) -> tuple[int, list[tuple[int, Candidate]]]:
        """The number of the batch, and what of it is left to measure, with its place in it."""
        batch, horizon = batch_of(job.seen, self.seed, self.batch)
        if horizon is None:
            return batch, self._left(job, batch, None)
        if self._open_batch(job):
            return batch, self._left(job, batch, horizon)
        return batch + 1, self._left(job, batch + 1, None)

    def _left(self, job: Job, batch: int, horizon: int | None) -> list[tuple[int, Candidate]]:
        """What a batch that began at `horizon` proposed and nobody has measured."""
        known = {s.schedule for s in job.seen}
        proposed = self._propose(job, batch, horizon)
        return [(n, c) for n, c in enumerate(proposed) if str(c.schedule) not in known]

    def _propose(self, job: Job, batch: int, horizon: int | None) -> list[Candidate]:
        kept = self._kept.get(job.context)
        if kept is not None and kept[0] == batch:
            return kept[1]
        seen = before(job.seen, horizon)
        self._numbers.pop(job.context, None)

        def rank(candidates: Sequence[Candidate]) -> list[float]:
            model = self._model(horizon)
            return model.rank([self._features(job, c) for c in candidates])

        name = f"{self.seed} {job.context.workload}"
        elsewhere = good_elsewhere(self.database, job.context, horizon) if batch == 0 else ()
        found = propose(job.space, seen, rank, name, batch, self.batch, elsewhere)
        self._kept[job.context] = (batch, found)
        return found

    def _model(self, horizon: int | None) -> CostModel:
        """What could be learned from the trials before `horizon`."""
        newest = horizon
        if horizon is None:
            (row,) = self.database.query("SELECT COALESCE(MAX(id), 0) + 1 AS next FROM trials")
            newest = row["next"]
        if self._learned is None or self._learned[0] != newest:
            groups = groups_of(self.database, newest)
            self._learned = (newest, CostModel.learn(groups, self.seed, self._base))
        return self._learned[1]

    def _features(self, job: Job, candidate: Candidate) -> list[float]:
        """What the cost model sees of a candidate; of those of a batch it is counted once."""
        known = self._numbers.setdefault(job.context, {})
        text = str(candidate.schedule)
        if text not in known:
            known[text] = self._count(job, candidate)
        return known[text]

    def _count(self, job: Job, candidate: Candidate) -> list[float]:
        target = job.wanted.workload.target
        device = device_features(target, self.threads, self.target)
        sizes = dict(zip(job.key.symbols, job.wanted.sizes, strict=True))
        work = Work(*job.work(), job.wanted.cold)
        return features(candidate.func, sizes, target, self.threads, device, work)

    def _commit(self, job: Job, candidate: Candidate, number: int, outcome: Outcome) -> None:
        trial = self._trial(job, candidate.schedule, candidate.knobs, number, outcome)
        data = self._features(job, candidate)
        self.done += enter(self.database, job.context, trial, data, self._run)
        self._read(job)
        self.measured += 1

    def _trial(
        self, job: Job, schedule: Schedule, knobs: str, number: int, outcome: Outcome
    ) -> Trial:
        trial = Trial(
            str(schedule),
            knobs,
            FAILED,
            outcome.error,
            weights=COLD if job.wanted.cold else HOT,
            seed=self.seed,
            number=number,
        )
        found = outcome.measured
        if found is None:
            return trial
        flops, moved = job.work()
        least = self.bound.seconds(flops / job.wanted.rate, moved)
        return replace(
            trial,
            status=OK,
            error="",
            seconds_median=found.median,
            seconds_min=found.least,
            seconds_p90=found.p90,
            default_seconds=found.default,
            ratio=1.0 if schedule == job.space.default.schedule else found.ratio,
            repeats=found.repeats,
            check_error=found.error,
            gflops=flops / found.median * 1e-9 if flops else None,
            fraction_of_bound=least / found.median if least else None,
        )
