"""The cost model: gradient-boosted trees that rank the candidates of a workload by their features.

It learns what share of the best candidate's speed another one of the same workload has, as Zheng et
al., "TenSet" (NeurIPS 2021), do, and how many of the others it beats, since where all are close to
the best the shares say little: times of different workloads or machines are never compared.
Trees are kept as XGBoost's own JSON or UBJ. This module must not measure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Final

import numpy as np

from tc.autotune.boosting import BoostingError, Trees
from tc.autotune.features import LAYOUT, NAMES
from tc.errors import TuningError, describe
from tc.frozen import frozen

SHIPPED: Final = Path(__file__).resolve().parents[1] / "tuning_db" / "cost_model.ubj"
ROUNDS: Final = 300
MORE_ROUNDS: Final = 80  # on top of a model that knows other trials
LEAST_ROWS: Final = 12  # fewer teach nothing
MOST_ROWS: Final = 4000
MOST_MODEL_BYTES: Final = 64 << 20
TOLD: Final = 0.01  # a difference of speeds that a measurement can tell at best
_PARAMETERS: Final = {
    "objective": "reg:squarederror",
    "max_depth": 5,
    "eta": 0.06,
    "min_child_weight": 2.0,
    "subsample": 0.9,
    "colsample_bytree": 0.3,
    "tree_method": "hist",
    "max_bin": 64,
    "nthread": 1,  # the sum's order, and so the model, is the same each time; no pool to be forked
    "verbosity": 0,
}


@frozen
class Group:
    """Trials of one workload under one set of conditions: features, and speed over the default's.

    A failed trial's speed is 0.

    Attributes:
        spreads: by what share each speed may be off, as its turns differed; none: not known.
    """

    features: list[list[float]]
    speeds: list[float]
    spreads: list[float] = field(default_factory=list)


class CostModel:
    """Ranks candidates; without having learned anything it gives them all the same rank."""

    def __init__(self, trees: Trees | None = None) -> None:
        self._trees = trees

    @property
    def is_trained(self) -> bool:
        """Whether its ranks mean anything."""
        return self._trees is not None

    @staticmethod
    def learn(groups: Sequence[Group], seed: int = 0, base: CostModel | None = None) -> CostModel:
        """A model of these trials, on top of what `base` knows, where there is one."""
        useful = [g for g in groups if len(g.speeds) > 1 and len(set(g.speeds)) > 1]
        rows = sum(len(g.speeds) for g in useful)
        if rows < LEAST_ROWS:
            return base or CostModel()
        if rows > MOST_ROWS:
            useful = _evenly(useful)
        data = np.concatenate([np.asarray(g.features, np.float32) for g in useful])
        labels = np.concatenate([_labels(g.speeds) for g in useful])
        known = None if base is None else base._trees
        rounds = ROUNDS if known is None else MORE_ROUNDS
        parameters = {**_PARAMETERS, "seed": seed}
        return CostModel((known or _trees()).trained(data, labels, NAMES, parameters, rounds))

    def rank(self, features: Sequence[Sequence[float]]) -> list[float]:
        """How good each candidate of a workload should be, 1 the best; 0: not known."""
        if self._trees is None or not features:
            return [0.0] * len(features)
        return self._trees.predict(np.asarray(features, np.float32))

    def save(self, path: Path) -> None:
        """Write it as `.json` or `.ubj`.

        Raises:
            TuningError: it has learned nothing, or the system refuses.
        """
        if self._trees is None:
            raise TuningError(describe("cost model", why="it has learned nothing yet"))
        self._trees.note("layout", str(LAYOUT))
        try:
            path.write_bytes(self._trees.data("json" if path.suffix == ".json" else "ubj"))
        except (OSError, BoostingError) as error:
            raise TuningError(describe(f"cost model {path}", why=str(error)[:200])) from error

    @staticmethod
    def load(path: Path) -> CostModel:
        """The model that `save` wrote.

        Raises:
            TuningError: no such file, no model, or one of other features.
        """
        try:
            if path.stat().st_size > MOST_MODEL_BYTES:
                raise ValueError("larger than any model")
            data = path.read_bytes()
            if path.suffix == ".json":
                json.loads(data)
            trees = _trees(data)
            if trees.noted("layout") != str(LAYOUT) or trees.names != list(NAMES):
                raise ValueError("a model of other features")
        except (OSError, ValueError, BoostingError) as error:
            why = str(error).strip().splitlines()[0][:200] if str(error).strip() else "unreadable"
            raise TuningError(
                describe(f"cost model {path}", why=why, way_out="train it anew")
            ) from error
        return CostModel(trees)


def shipped_model() -> CostModel:
    """The model that comes with tc; one that knows nothing where it is of other features."""
    try:
        return CostModel.load(SHIPPED)
    except TuningError:
        return CostModel()


@frozen
class Score:
    """How well a model ranks: the share of pairs in order, of those that differ by more than they
    spread, and the best speed among its first k over the best of all, k = 1, 5, 10."""

    pairwise: float
    peak1: float
    peak5: float
    peak10: float
    groups: int


def score(model: CostModel, groups: Sequence[Group]) -> Score:
    """Of a model on trials that it has not learned from, the mean over groups."""
    found = []
    for group in groups:
        speeds = np.asarray(group.speeds)
        if len(speeds) < 2 or speeds.max() <= 0:
            continue
        ranks = np.asarray(model.rank(group.features))
        order = np.argsort(-ranks, kind="stable")
        peaks = [speeds[order[:k]].max() / speeds.max() for k in (1, 5, 10)]
        # Pairs whose speeds differ by less than what a measurement can tell say nothing.
        spreads = np.asarray(group.spreads or [0.0] * len(speeds))
        least = np.maximum(TOLD, np.hypot(spreads[:, None], spreads[None, :]))
        apart = speeds[:, None] > speeds[None, :] * (1 + least)
        right = (ranks[:, None] > ranks[None, :])[apart].mean() if apart.any() else 1.0
        found.append((float(right), *map(float, peaks)))
    means = [float(np.mean(column)) for column in zip(*found, strict=True)] or [0.0] * 4
    pairwise, one, five, ten = means
    return Score(pairwise, one, five, ten, len(found))


def _labels(speeds: Sequence[float]) -> Any:
    """The mean of the share of the best speed and the share of the others that are slower."""
    found = np.asarray(speeds, np.float32)
    slower = (found[:, None] > found[None, :]).sum(axis=1, dtype=np.float32)
    equal = (found[:, None] == found[None, :]).sum(axis=1, dtype=np.float32) - 1
    return (found / max(float(found.max()), 1e-9) + (slower + equal / 2) / (len(found) - 1)) / 2


def _evenly(groups: Sequence[Group]) -> list[Group]:
    """`MOST_ROWS` trials at most, as many as can be of each group, whatever others have: what is
    common to many workloads is what helps on a new one."""
    sizes = np.asarray([len(g.speeds) for g in groups])
    most = MOST_ROWS // len(groups)
    while np.minimum(sizes, most + 1).sum() <= MOST_ROWS:
        most += 1
    found = []
    for group, size in zip(groups, sizes, strict=True):
        # Over the whole of a search: its last trials are all close to the best.
        chosen = np.unique(np.linspace(0, size - 1, max(2, min(size, most))).round().astype(int))
        spreads = [group.spreads[i] for i in chosen] if group.spreads else []
        speeds = [group.speeds[i] for i in chosen]
        found.append(Group([group.features[i] for i in chosen], speeds, spreads))
    return found


def _trees(data: bytes | None = None) -> Trees:
    """Those of a file's content; without any, none."""
    try:
        return Trees() if data is None else Trees.of(data)
    except ImportError as error:
        raise TuningError(
            describe(
                "cost model", why="XGBoost is not installed", way_out="pip install 'tensorc[tune]'"
            )
        ) from error
