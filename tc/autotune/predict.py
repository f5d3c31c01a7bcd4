"""Schedules for a target that is not at hand: ranked, not measured.

What the cost model learned on other machines says which candidates should be fast, for it sees the
device in numbers; the instructions that LLVM makes of a candidate's inner loop, and its model of
the processor, say what the loop can reach at best. A candidate must beat the default in both.
Records of this kind say "predicted", and any measurement takes their place. This module must not
run or measure anything.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from random import Random
from typing import Final

from tc.autotune.cost_model import CostModel
from tc.autotune.features import Work, device_features, features
from tc.autotune.rows import COLD, HOT, PREDICTED, Trial
from tc.autotune.session import Job, Session
from tc.autotune.space import Candidate
from tc.autotune.static import Throughput
from tc.errors import ScheduleError, TcError
from tc.frozen import frozen
from tc.schedule.foreign import read_schedule
from tc.schedule.step import Schedule

LOOKED_AT: Final = 6  # of a workload's candidates: by their machine code
KEPT: Final = 3  # of these: as records
_LEAST: Final = 0.7  # of the default's time: more than that the model may not promise


@frozen
class Prediction:
    """A candidate and what its time should be over the default's; for an order, no more."""

    candidate: Candidate
    ratio: float


def predict(
    session: Session,
    model: CostModel,
    throughput: Throughput,
    candidates: int,
    time_limit: float | None = None,
    tick: Callable[[Session, Job], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Enter predictions for the workloads of a session until time is up; whether all have some.

    Those of which nothing is known come first, so that the same call goes on where one stopped.

    Args:
        model: that learned on other machines; one that knows nothing ranks all the same.
        candidates: to rank, of all workloads together.
        time_limit: seconds after which no other workload is begun; the first one always is.
        tick: called after each workload.
    """
    end = math.inf if time_limit is None else clock() + time_limit
    each = max(LOOKED_AT, candidates // max(1, len(session.jobs)))
    known = [bool(session.database.trials(job.context)) for job in session.jobs]
    for place in sorted(range(len(known)), key=known.__getitem__):
        job = session.jobs[place]
        for number, made in enumerate(predictions(session, job, model, throughput, each)):
            session.database.put_trial(job.context, _trial(job, made, number, session.seed))
        known[place] = True
        if tick is not None:
            tick(session, job)
        if clock() >= end:
            break
    return all(known)


def best_predicted(session: Session, job: Job) -> Schedule | None:
    """What the database promises most of; None where that is the default."""
    rows = session.database.trials(job.context)
    found = [r for r in rows if r["status"] == PREDICTED and isinstance(r["ratio"], float)]
    best = min(found, key=lambda r: (r["ratio"], r["id"]), default=None)
    if best is None or best["ratio"] >= 1:
        return None
    with contextlib.suppress(ScheduleError):  # somebody else has written into the file
        return read_schedule(best["schedule"])
    return None


def predictions(
    session: Session, job: Job, model: CostModel, throughput: Throughput, count: int
) -> list[Prediction]:
    """The default, then what should be faster, the best first."""
    pool = _pool(job, Random(f"{session.seed} {job.context.workload}"), count)
    target = job.wanted.workload.target
    device = device_features(target, session.threads, session.target)
    sizes = dict(zip(job.key.symbols, job.wanted.sizes, strict=True))
    work = Work(*job.work(), job.wanted.cold)
    ranks = model.rank(
        [features(c.func, sizes, target, session.threads, device, work) for c in pool]
    )
    order = sorted(range(1, len(pool)), key=lambda n: (-ranks[n], n))[:LOOKED_AT]
    default = throughput.cycles(pool[0].func)
    found = []
    for n in order:
        if ranks[n] < ranks[0]:
            continue
        says = max(_LEAST, ranks[0] / ranks[n]) if ranks[0] > 0 else 1.0
        try:
            cycles = throughput.cycles(pool[n].func)
        except TcError:
            continue  # nothing that could be compiled there
        if cycles < default:
            found.append(Prediction(pool[n], math.sqrt(says * cycles / default)))
    found.sort(key=lambda made: made.ratio)
    return [Prediction(pool[0], 1.0), *found[:KEPT]]


def _pool(job: Job, random: Random, count: int) -> list[Candidate]:
    """The default, its neighbours, and others, all different."""
    space = job.space
    found = {str(space.default.schedule): space.default}
    near = list(space.neighbours(space.default))
    random.shuffle(near)
    for wanted in near[: count // 2]:
        made = space.make(wanted)
        if made.legal:
            found.setdefault(str(made.schedule), made)
    for _ in range(2 * count):
        if len(found) >= count:
            break
        made = space.mutate(random.choice(list(found.values())), random)
        if made.legal:
            found.setdefault(str(made.schedule), made)
    return list(found.values())


def _trial(job: Job, made: Prediction, number: int, seed: int) -> Trial:
    return Trial(
        str(made.candidate.schedule),
        made.candidate.knobs,
        PREDICTED,
        ratio=made.ratio,
        weights=COLD if job.wanted.cold else HOT,
        seed=seed,
        number=number,
    )
