"""What a row must reach and what it aims at, and whether it does.

The goals are here alone, in one table. Must not measure or print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """What must be reached and what is aimed at; `lower` says that less is better."""

    must: float
    aim: float
    unit: str = "×"
    lower: bool = False


MUST_OF_LIMIT, AIM_OF_LIMIT = 0.85, 0.92
"""Shares of what the machine allows that stand for a goal which lies beyond that."""

GOALS = {
    "models": Goal(1.05, 1.12),
    "models short": Goal(1.2, 1.4),  # 16 tokens: most of it is overhead, not arithmetic
    "models small": Goal(1.05, 1.15),
    "bf16": Goal(1.0, 1.1),
    "int8": Goal(1.3, 1.5),
    "bf16 without dots": Goal(0.95, 1.0),  # over tc's own fp32
    "int8 without dots": Goal(1.1, 1.3),
    "decode fp32": Goal(1.2, 1.5),
    "decode bf16": Goal(1.05, 1.2),
    "decode int8": Goal(1.1, 1.3),
    "t5": Goal(1.2, 1.5),
    "product": Goal(90, 95, "%"),
    "product odd": Goal(75, 85, "%"),
    "sweep fp32": Goal(90, 93, "%"),
    "sweep fp32 worst": Goal(70, 80, "%"),
    "sweep bf16": Goal(80, 88, "%"),
    "sweep int8": Goal(80, 88, "%"),
    "sweep avx2": Goal(85, 92, "%"),
    "attention": Goal(1.3, 1.5),
    "attention causal": Goal(1.6, 2.0),
    "attention one query": Goal(1.2, 1.4),
    "layer norm": Goal(2.0, 2.0),
    "softmax": Goal(2.0, 2.0),
    "gelu erf": Goal(1.3, 1.3),
    "gelu tanh": Goal(3.0, 3.0),
    "layer norm call": Goal(1.0, 1.0),
    "layer norm inside": Goal(1.0, 1.0, "µs", lower=True),
    "compile cold": Goal(6, 4, "s", lower=True),
    "compile after export": Goal(3, 1.5, "s", lower=True),
    "compile outside LLVM": Goal(2, 1.5, "s", lower=True),
    "compile warm": Goal(1, 0.5, "s", lower=True),
    "memory": Goal(1.3, 1.1, "× weights", lower=True),
    "call plain": Goal(10, 5, "µs", lower=True),
    "call hugging face": Goal(40, 25, "µs", lower=True),
    "import": Goal(0.3, 0.3, "s", lower=True),
    "help": Goal(0.5, 0.5, "s", lower=True),
    "c over llvm": Goal(1.05, 1.0, "× the time", lower=True),
    "c layer": Goal(10.0, 10.0),
    "c linear": Goal(2.3, 2.3),
    "c attention": Goal(2.0, 2.0),
    "c mlp": Goal(3.0, 3.0),
    "c decode, transformers": Goal(2.0, 2.0),
    "c decode, llama.cpp": Goal(1.0, 1.0),
    "c export": Goal(30, 30, "s", lower=True),
    "c equal exports": Goal(100, 100, "%"),
    "c build": Goal(60, 60, "s", lower=True),
    "c build memory": Goal(1.0, 1.0, "GiB", lower=True),
    "c start": Goal(0.3, 0.3, "s", lower=True),
    "c private memory": Goal(100, 100, "MB", lower=True),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure beside its goal.

    Attributes:
        row: what was measured.
        against: what the figure is over, such as the name of the fastest peer.
        value: the figure; None: there is none, and `reason` says why.
        limit: the best value that the machine allows; None: not known.
    """

    row: str
    goal: Goal
    value: float | None
    against: str = ""
    limit: float | None = None
    reason: str = ""

    def reaches(self, wanted: float) -> bool:
        """Whether the figure is as good as `wanted`."""
        if self.value is None:
            return False
        return self.value <= wanted if self.goal.lower else self.value >= wanted

    @property
    def wanted(self) -> Goal:
        """The goal, or shares of what the machine allows where that is less."""
        goal, limit = self.goal, self.limit
        if limit is None or goal.lower:
            return goal
        must = goal.must if goal.must <= limit else MUST_OF_LIMIT * limit
        return replace(goal, must=must, aim=goal.aim if goal.aim <= limit else AIM_OF_LIMIT * limit)

    @property
    def relative(self) -> float | None:
        """The figure over what must be, turned so that more is better: 1 is just enough."""
        if not self.value:
            return None
        must = self.wanted.must
        return must / self.value if self.goal.lower else self.value / must

    @property
    def text(self) -> str:
        """Met, or how far away."""
        if self.value is None:
            return f"no figure: {self.reason}"
        if self.reaches(self.wanted.aim):
            return "aim met"
        if self.reaches(self.wanted.must):
            return "must met"
        over = self.value / self.wanted.must
        return f"missed, {over:.1f} times it" if over > 2 else f"missed by {abs(over - 1):.0%}"

    @property
    def beyond(self) -> str:
        """Where the machine itself rules the goal out: what it allows; else nothing."""
        if self.limit is None or self.limit >= self.goal.must:
            return ""
        return f"the bound of this machine allows {self.limit:.2f}{self.goal.unit}"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "row": self.row,
            "against": self.against,
            "value": self.value,
            "unit": self.goal.unit,
            "must": self.goal.must,
            "aim": self.goal.aim,
            "lower": self.goal.lower,
            "limit": self.limit,
            "reason": self.reason,
        }

    @staticmethod
    def from_json(held: dict[str, Any]) -> Verdict:
        """The inverse of `to_json`. Raises KeyError: something is missing."""
        goal = Goal(held["must"], held["aim"], held["unit"], held["lower"])
        return Verdict(
            held["row"], goal, held["value"], held["against"], held["limit"], held["reason"]
        )


def verdict(
    row: str,
    goal: str,
    value: float | None,
    against: str = "",
    limit: float | None = None,
    reason: str = "",
) -> Verdict:
    """A figure beside the goal of that name; a figure that is not finite is none."""
    if value is not None and not math.isfinite(value):
        value = None
    why = "" if value is not None else reason or "not measured"
    return Verdict(row, GOALS[goal], value, against, limit, why)


def geometric_mean(values: Iterable[float]) -> float:
    """Of positive values; NaN of none."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan
