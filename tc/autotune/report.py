"""What a tuning run found, as values, as a table, as JSON and as a picture.

This module must not tune.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tc.errors import TuningError, describe
from tc.frozen import frozen


@frozen
class WorkloadReport:
    """One workload; times are seconds of one call, measured alone.

    Attributes:
        share: of the model's time with default schedules.
        space: how many candidates there are.
        gain: the default's time over the best one's, taken in turns.
        fraction: of the machine's bound that the best reaches; None: not known.
        chosen: "tuned" or "default", as measured inside the program; "predicted".
        curve: the best ratio to the default after each trial.
        problem: why it could not be measured; "".
    """

    name: str
    family: str
    sizes: str
    calls: int
    share: float
    space: int
    trials: int
    failed: int
    default_seconds: float | None
    best_seconds: float | None
    gain: float
    fraction: float | None
    chosen: str
    schedule: str
    curve: tuple[float, ...] = ()
    problem: str = ""


@frozen
class TuningReport:
    """A run; `str` of it is a table.

    Attributes:
        trials: of this run, those of its earlier lives too; `measured` of them by this call.
        default_seconds, tuned_seconds: of a call of the whole model, in turns; None: not measured.
        seconds: of the whole run; `search_seconds` of them were spent on deciding what to try.
        finished: False where time was up or somebody stopped it: the same call goes on.
        interrupted: by Ctrl-C.
        problem: why it could not go on; "".
    """

    model: str
    target: str
    threads: int
    database: str
    seed: int
    trials: int
    seconds: float
    search_seconds: float
    default_seconds: float | None
    tuned_seconds: float | None
    workloads: tuple[WorkloadReport, ...]
    measured: int = 0
    finished: bool = True
    interrupted: bool = False
    problem: str = ""

    @property
    def gain(self) -> float | None:
        """The whole model's: its time with default schedules over that with the best ones."""
        if not self.default_seconds or not self.tuned_seconds:
            return None
        return self.default_seconds / self.tuned_seconds

    def as_dict(self) -> dict[str, object]:
        """The same as plain data."""
        return {**asdict(self), "gain": self.gain}

    def __str__(self) -> str:
        head = ("workload", "family", "sizes", "share", "space", "trials", "failed", "default",
                "best", "gain", "of bound", "chosen")  # fmt: skip
        lines = [head, *map(_line, self.workloads)]
        widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
        left = {0, 1, 2, 11}
        shown = [
            "  ".join(
                cell.ljust(w) if n in left else cell.rjust(w)
                for n, (cell, w) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self._title(), *shown, self._foot()])

    def _title(self) -> str:
        rate = 60 * self.measured / self.seconds if self.seconds else 0.0
        now = "" if self.measured == self.trials else f", {self.measured} of them"
        return (
            f"{self.model} for {self.target}, {self.threads} threads: {self.trials} trials{now} in "
            f"{self.seconds:.0f} s ({rate:.0f} a minute, "
            f"{self.search_seconds / max(self.seconds, 1e-9):.0%} of it for the search)"
        )

    def _foot(self) -> str:
        if self.default_seconds is None or self.tuned_seconds is None or self.gain is None:
            whole = "the whole model was not measured"
        else:
            whole = (
                f"the whole model: default {_time(self.default_seconds)}, tuned "
                f"{_time(self.tuned_seconds)}, gain {self.gain:.3f}"
            )
        more = "" if self.finished else "; stopped: the same command goes on"
        return f"{whole}; records in {self.database}{more}"

    def plot(self, path: str | Path) -> None:
        """Draw the curves, the best of each workload against the trials, as PNG.

        Raises:
            TuningError: matplotlib is not installed, or the system refuses to write.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise TuningError(
                describe("plot", why="there is no matplotlib", way_out="pip install matplotlib")
            ) from error
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        for number, work in enumerate(w for w in self.workloads if w.curve):
            gains = [1 / ratio for ratio in work.curve]
            axes.step(range(1, len(gains) + 1), gains, where="post", label=work.name,
                      linestyle=("-", "--", ":")[number // 10 % 3])  # fmt: skip
        axes.set_xlabel("trials of the workload")
        axes.set_ylabel("default's time over the best one's")
        axes.set_title(f"{self.model}, {self.target}")
        if axes.has_data():
            axes.legend(fontsize="x-small")
        try:
            figure.savefig(path, format="png", dpi=120)
        except OSError as error:
            raise TuningError(
                describe(f"plot {path}", why=str(error.strerror), way_out="name another file")
            ) from error


def curve_of(ratios: Sequence[float | None]) -> tuple[float, ...]:
    """The best ratio so far after each trial."""
    best, found = math.inf, []
    for ratio in ratios:
        best = min(best, math.inf if ratio is None else ratio)
        found.append(best if math.isfinite(best) else 1.0)
    return tuple(found)


def _line(w: WorkloadReport) -> tuple[str, ...]:
    return (
        w.name[:36],
        w.family,
        w.sizes,
        f"{w.share:.0%}",
        f"{w.space:.3g}" if w.space >= 100_000 else str(w.space),
        str(w.trials),
        str(w.failed),
        "" if w.default_seconds is None else _time(w.default_seconds),
        "" if w.best_seconds is None else _time(w.best_seconds),
        f"{w.gain:.3f}",
        "" if w.fraction is None else f"{w.fraction:.0%}",
        w.problem[:60] if w.problem else w.chosen,
    )


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"
