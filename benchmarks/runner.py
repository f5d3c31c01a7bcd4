"""Check first, then time: blocks of calls of all contenders, interleaved A B C A B C ….

Interleaving makes slow drifts of the machine hit all contenders alike; ratios are taken within
a round for the same reason. A contender whose output is wrong is reported as wrong and never
timed. Must not know any framework: contenders come in as objects.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.protocol import Array, Block, Contender, Ready, UnavailableError, WorkerError

IDLE_LIMIT = 0.05
"""Greatest share of a core that an idle contender may use before the row is marked."""


def relative_error(actual: Array, expected: Array) -> float:
    """Greatest absolute difference over the greatest absolute expected value.

    Infinite when the shapes differ, or when a NaN or infinity is not where it is expected.
    """
    if actual.shape != expected.shape:
        return math.inf
    if not expected.size:
        return 0.0
    wide = actual.astype(np.float64)
    finite = np.isfinite(expected)
    if not np.array_equal(wide[~finite], expected[~finite], equal_nan=True):
        return math.inf
    if not finite.any():
        return 0.0
    scale = float(np.max(np.abs(expected[finite]))) or 1.0
    error = float(np.max(np.abs(wide[finite] - expected[finite]))) / scale
    return math.inf if math.isnan(error) else error


def unequal_share(actual: Array, expected: Array) -> float:
    """Share of the elements (tokens) that differ; infinite when the shapes do."""
    if actual.shape != expected.shape:
        return math.inf
    return float(np.mean(actual != expected)) if expected.size else 0.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How long to measure, in seconds, and what counts as right.

    `error` compares an output with the expected one; a contender is right up to its entry in
    `tolerances`, else up to `tolerance`. `progress` is given a line of text now and then; the
    default does nothing with it. For so many seconds of `patience` in all, blocks that were not
    run in calm are run again.
    """

    rounds: int = 20
    block_seconds: float = 0.1
    gap_seconds: float = 0.005
    tolerance: float = 1e-4
    tolerances: Mapping[str, float] = field(default_factory=dict)
    error: Callable[[Array, Array], float] = relative_error
    progress: Callable[[str], object] = str
    patience: float = 0.0


QUICK = Settings(rounds=5, block_seconds=0.05)
FULL = Settings()


@dataclass(frozen=True, slots=True)
class Moment:
    """The machine as it is: the least time of the work, 0.0 not known, and whether it is calm."""

    least: float = 0.0
    calm: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    """One contender in one row. `state` is "ok", "wrong", "unavailable" or "failed".

    `error` is that of the settings; `ratio` is its time over the baseline's (median over rounds).
    `inside` is the median within compiled code, 0.0 where it does not tell, and `inside_ratio`
    its time over the baseline's inside. `share` is the least time that the machine allows over its
    own (median over rounds), NaN where that is not known. `crowded` is the share of its blocks that
    were not run in calm. Times are in seconds, 0.0 when not timed.
    """

    name: str
    state: str
    reason: str = ""
    error: float = math.nan
    median: float = 0.0
    p10: float = 0.0
    p90: float = 0.0
    ratio: float = math.nan
    inside: float = 0.0
    inside_ratio: float = math.nan
    share: float = math.nan
    crowded: float = 0.0
    calls: int = 0
    idle_share: float = 0.0
    prepare_seconds: float = 0.0
    peak_bytes: int = 0


def admit(contender: Contender, expected: Array, settings: Settings) -> Result:
    """Prepare one contender and compare its output; only "ok" may be timed."""
    ready = Ready(0.0, 0)
    try:
        ready = contender.prepare()
        actual = contender.output()
    except UnavailableError as error:
        return Result(contender.name, "unavailable", str(error))
    except WorkerError as error:
        return Result(contender.name, "failed", str(error))
    error_size = settings.error(actual, expected)
    allowed = settings.tolerances.get(contender.name, settings.tolerance)
    result = Result(
        contender.name,
        "ok",
        error=error_size,
        prepare_seconds=ready.seconds,
        peak_bytes=ready.peak_bytes,
    )
    if error_size <= allowed:
        return result
    if actual.shape != expected.shape:
        reason = f"shape {actual.shape}, expected {expected.shape}"
    else:
        reason = f"differs by {error_size:.1e}, allowed {allowed:.0e}"
    return replace(result, state="wrong", reason=reason)


def block_size(contender: Contender, settings: Settings) -> int:
    """Calls that fill about `block_seconds`, from a pilot of three; 1 to 10000.

    Without any `block_seconds` a call is a block, and takes no pilot.
    """
    if not settings.block_seconds:
        return 1
    pilot = statistics.median(contender.run(3).seconds)
    return min(10_000, max(1, math.ceil(settings.block_seconds / max(pilot, 1e-7))))


def interleave(
    contenders: Sequence[Contender], settings: Settings, look: Callable[[], Moment]
) -> dict[str, list[Block]]:
    """Blocks of every contender, by name: each round runs one block of each, in order.

    `look` is called before and after each block. Its limit is the mean of both; it was run in calm
    where both were calm, and else is run again while there is patience.
    """
    sizes = {contender.name: block_size(contender, settings) for contender in contenders}
    blocks: dict[str, list[Block]] = {contender.name: [] for contender in contenders}
    end = time.monotonic() + settings.patience
    before = look()
    for number in range(settings.rounds):
        settings.progress(f"round {number + 1}/{settings.rounds}")
        for contender in contenders:
            while True:
                time.sleep(settings.gap_seconds)
                if not before.calm and time.monotonic() < end:
                    before = look()
                    continue
                block = contender.run(sizes[contender.name])
                after = look()
                least, calm = (before.least + after.least) / 2, before.calm and after.calm
                before = after
                if calm or time.monotonic() >= end:
                    break
            blocks[contender.name].append(replace(block, least=least, calm=calm))
    return blocks


def paired_ratio(blocks: Sequence[Block], baseline: Sequence[Block]) -> float:
    """Median over rounds of one contender's block median over the baseline's."""
    return statistics.median(
        statistics.median(mine.seconds) / statistics.median(theirs.seconds)
        for mine, theirs in zip(blocks, baseline, strict=True)
    )


def inside_ratio(blocks: Sequence[Block], baseline: Sequence[Block]) -> float:
    """The same over the baseline's time within compiled code; NaN where it does not tell.

    The time of one that has no inside of its own is that of its calls: what replaces it inside a
    program is held against what it costs there.
    """
    if not all(theirs.inside for theirs in baseline):
        return math.nan
    return statistics.median(
        statistics.median(mine.inside or mine.seconds) / statistics.median(theirs.inside)
        for mine, theirs in zip(blocks, baseline, strict=True)
    )


def share_of(blocks: Sequence[Block]) -> float:
    """Median over rounds of the least time over the block median; NaN: not known."""
    if not all(block.least for block in blocks):
        return math.nan
    return statistics.median(block.least / statistics.median(block.seconds) for block in blocks)


def summarise(result: Result, blocks: Sequence[Block], baseline: Sequence[Block]) -> Result:
    """The result with its medians, percentiles, ratio and share filled in."""
    seconds = [value for block in blocks for value in block.seconds]
    p10, median, p90 = (float(value) for value in np.percentile(seconds, (10, 50, 90)))
    return replace(
        result,
        median=median,
        p10=p10,
        p90=p90,
        ratio=paired_ratio(blocks, baseline),
        inside=statistics.median([value for block in blocks for value in block.inside] or [0.0]),
        inside_ratio=inside_ratio(blocks, baseline),
        share=share_of(blocks),
        crowded=sum(not block.calm for block in blocks) / len(blocks),
        calls=len(seconds),
        idle_share=statistics.median(block.idle_share for block in blocks),
    )


def measure(
    contenders: Iterable[Contender],
    expected: Array,
    settings: Settings,
    check_load: Callable[[], object] = bool,
    then: Callable[[Contender], object] = bool,
    look: Callable[[], Moment] = Moment,
) -> list[Result]:
    """Check and time `contenders` against `expected`; the first right one is the baseline.

    `then` is called with each right one after the timing, for what else is to be asked of it.

    `check_load` runs right before and right after the timing, when all are prepared and asleep;
    it raises to refuse the figures. `look` tells around every block how the machine is then.
    All contenders are closed on the way out, whatever happens.
    """
    every = list(contenders)
    try:
        results: dict[str, Result] = {}
        for contender in every:
            settings.progress(f"preparing {contender.name}")
            results[contender.name] = admit(contender, expected, settings)
            if results[contender.name].state != "ok":
                contender.close()
        admitted = [contender for contender in every if results[contender.name].state == "ok"]
        if admitted:
            check_load()
            blocks = interleave(admitted, settings, look)
            check_load()
            baseline = blocks[admitted[0].name]
            for name, mine in blocks.items():
                results[name] = summarise(results[name], mine, baseline)
            for contender in admitted:
                then(contender)
        return [results[contender.name] for contender in every]
    finally:
        for contender in every:
            contender.close()
