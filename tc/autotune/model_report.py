"""How well the cost model ranks what it has not seen: workloads, and targets, kept from it.

This module must not measure, nor change the database.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from random import Random
from typing import Final

from tc.autotune.cost_model import CostModel, Score, score
from tc.autotune.database import Database
from tc.autotune.history import Labelled, labelled_groups
from tc.errors import TuningError, describe
from tc.frozen import frozen

FOLDS: Final = 5
LEAST_TRIALS: Final = 16  # of a group that is judged: among fewer, the first ten say little


@frozen
class ModelScore:
    """A score on what was kept from a model.

    Attributes:
        kept: "workloads" or the target.
        learned: trials that the models had, of all folds the mean.
        judged: trials that they were judged by.
    """

    kept: str
    score: Score
    learned: int
    judged: int

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        values = {k: v for k, v in asdict(self).items() if k != "score"}
        return {**values, **asdict(self.score)}


def report_model(
    database: Database, seed: int = 0, judged: Collection[str] = ()
) -> list[ModelScore]:
    """Scores on held-out workloads (each a fifth of the time), then on each held-out target.

    A target here is a machine with a number of threads.

    Args:
        judged: hashes of the workloads to hold out in turn, while the others are always learned
            from; none: all.

    Raises:
        TuningError: too few trials, or workloads, to keep any.
    """
    groups = labelled_groups(database)
    names = sorted({g.workload for g in groups if not judged or g.workload in judged})
    Random(seed).shuffle(names)
    folds = [set(names[n::FOLDS]) for n in range(FOLDS)]
    found = [_kept("workloads", groups, [_of(f) for f in folds], seed)]
    for target in sorted({g.target for g in groups}):
        found.append(_kept(target, groups, [_on(target)], seed))
    scores = [each for each in found if each is not None]
    if not scores:
        raise TuningError(
            describe(
                f"cost model from {database.path}",
                why=f"there are not several workloads of at least {LEAST_TRIALS} trials",
                way_out="tune more, then ask again",
            )
        )
    return scores


def _of(workloads: set[str]) -> Callable[[Labelled], bool]:
    return lambda group: group.workload in workloads


def _on(target: str) -> Callable[[Labelled], bool]:
    return lambda group: group.target == target


def _kept(
    name: str, groups: Sequence[Labelled], folds: Sequence[Callable[[Labelled], bool]], seed: int
) -> ModelScore | None:
    """The score over all folds, each a test of what is kept; None where there is nothing."""
    scores, learned, judged = [], 0, 0
    for keeps in folds:
        known = [g.group for g in groups if not keeps(g)]
        rest = [g.group for g in groups if keeps(g) and len(g.group.speeds) >= LEAST_TRIALS]
        if not rest:
            continue
        model = CostModel.learn(known, seed)
        if not model.is_trained:
            continue
        scores.append(score(model, rest))
        learned += sum(len(g.speeds) for g in known)
        judged += sum(len(g.speeds) for g in rest)
    count = sum(s.groups for s in scores)
    if not count:
        return None

    def mean(field: str) -> float:
        return sum(float(getattr(s, field)) * s.groups for s in scores) / count

    whole = Score(mean("pairwise"), mean("peak1"), mean("peak5"), mean("peak10"), count)
    return ModelScore(name, whole, learned // len(scores), judged)
