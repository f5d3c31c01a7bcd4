"""How good tuning is: each row alone, or all of them.

    python -m benchmarks.tuning search --only "gemm M=1" --random 200
    python -m benchmarks.tuning gain rate warm --trials 64

Rows: search (best of 64 trials over the best of many random ones, both measured again), gain (tuned
over default, alone and end to end), learned (half as many trials, drawn at random, of each workload
that the cost model learns from), model (the cost model on workloads and targets kept from it),
targets (records for the latter: other vector levels and thread counts), rate (trials a minute, and
the search's own share), bert (BERT-base, 512 trials), warm (compiling with records over compiling
without). What is measured lies in databases of `--folder`, so that a row that was stopped goes on
when it is asked for again. Rows that time whole runs refuse cores that others use.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import load
from benchmarks.tuned_models import MODELS
from benchmarks.tuned_workloads import LEARNED, WORKLOADS, workload
from tc.errors import TcError

GOALS = {"search": (0.97, 0.93), "gain": 0.99, "rate": 120.0, "share": 0.20, "bert": 600.0,
         "warm": 1.10, "model": (0.85, 0.83, 0.92), "target": 0.85}  # fmt: skip
RANDOM_SEED = 1_000_000  # of trials that no search proposed
FINALISTS, CONFIRMATIONS = 5, 5  # of a session; how often each of them is measured again
# Compilations with and without records: so many at least, and up to the other number while they
# have not taken so many seconds. The least of each is compared: what disturbs a compilation on a
# shared machine makes it longer, by up to its double and differently from one to the next.
WARM_ROUNDS, WARM_MOST, WARM_SECONDS = 7, 25, 60.0
MODEL_NAMES = tuple(model.__name__ for model in MODELS)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says."""

    folder: Path
    trials: int
    random: int
    threads: int | None
    only: tuple[str, ...]
    curves: dict[str, list[float]] = field(default_factory=dict)

    def names(self, known: Sequence[str]) -> list[str]:
        """Those of the known names that are asked for; all, if none is."""
        return [name for name in known if not self.only or name in self.only]


Row = tuple[str, str, str, bool]  # what, measured, wanted, reached


def search(asked: Asked) -> Iterator[Row]:
    """Best of the trials over the best of random ones, workload by workload."""
    shares = []
    for name in asked.names(tuple(WORKLOADS)):
        own = tuned(asked, name, asked.folder / "search.db", asked.trials)
        chance = tuned(asked, name, asked.folder / "random.db", asked.random, random=True)
        asked.curves[name] = _curve(own)
        best, best_of_chance = _confirmed(own, chance)
        shares.append(best_of_chance / best)
        goal = GOALS["search"][1]
        yield (f"{name}: best of {asked.trials} over best of {asked.random} random",
               f"{shares[-1]:.3f}", f">= {goal}", shares[-1] >= goal)  # fmt: skip
    mean, goal = math.exp(sum(map(math.log, shares)) / len(shares)), GOALS["search"][0]
    yield "geometric mean", f"{mean:.3f}", f">= {goal}", mean >= goal


def _curve(session: Any) -> list[float]:
    """The least ratio to the default so far after each trial of a session's one workload."""
    from tc.autotune.report import curve_of

    (job,) = session.jobs
    own = sorted((s for s in job.seen if s.seed == session.seed), key=lambda s: s.number)
    return list(curve_of([s.ratio for s in own]))


def _confirmed(*sessions: Any) -> list[float]:
    """The best ratio to the default of each session, of what is measured anew in turns.

    The least of many measurements is the luckiest one too, and the more there are the luckier:
    those that seemed best are judged by what they do when all of them are measured again.
    """
    from tc.autotune.measure import Measurer

    finalists = [_finalists(session) for session in sessions]
    schedules = list(dict.fromkeys(each for few in finalists for each in few))
    found: dict[str, list[float]] = {each: [] for each in schedules}
    task = sessions[0].task(sessions[0].jobs[0])
    with Measurer() as measurer:
        for turn in range(CONFIRMATIONS):
            order = schedules[:: -1 if turn % 2 else 1]
            for schedule, outcome in zip(order, measurer.measure(task, order), strict=True):
                if outcome.measured is not None:
                    found[schedule].append(outcome.measured.ratio)
    middle = {each: statistics.median(ratios) for each, ratios in found.items() if ratios}
    return [min(middle[each] for each in few if each in middle) for few in finalists]


def _finalists(session: Any) -> list[str]:
    """The schedules that seemed best to a session."""
    (job,) = session.jobs
    own = [s for s in job.seen if s.seed == session.seed and s.ratio is not None]
    return [s.schedule for s in sorted(own, key=lambda s: s.ratio)[:FINALISTS]]


def tuned(
    asked: Asked,
    name: str,
    path: Path,
    trials: int,
    target: str = "host",
    threads: int | None = None,
    random: bool = False,
) -> Any:
    """A session over one workload that has so many trials, or all that there are."""
    from tc.autotune.cost_model import shipped_model
    from tc.autotune.database import Database
    from tc.autotune.measure import Measurer
    from tc.autotune.records import versions
    from tc.autotune.session import Session
    from tc.frontend.options import Options
    from tc.frontend.tuning import machine
    from tc.frontend.tuning_subject import TorchSubject

    class Chance(Session):
        """Proposes anything, whatever was measured."""

        def _propose(self, job: Any, batch: int, horizon: int | None) -> list[Any]:
            del horizon
            draw = Random(f"{self.seed} {job.context.workload} {batch}")
            made = [job.space.draw(draw) for _ in range(self.batch)]
            return list({str(c.schedule): c for c in made if c.legal}.values())

    options = Options.of(target, "fp32", threads or asked.threads)
    with Database.open(path) as database, Measurer(options.cache_dir) as measurer:
        measurer.get_ready()  # as `tc.tune` does
        module, inputs = workload(name)
        wanted = TorchSubject(module, options, inputs).wanted()[:1]
        row, bound = machine(options.target, options.threads)
        kind, seed = (Chance, RANDOM_SEED) if random else (Session, 0)
        given = (database, row, versions(), options.threads, wanted)
        session = kind(*given, seed=seed, bound=bound, base=shipped_model())
        before = -1
        while before < session.done < trials:
            before = session.done
            session.run(measurer, trials)
    return session


def gain(asked: Asked) -> Iterator[Row]:
    """Tuned over default, each workload alone, and whole models in turns."""
    import tc

    for name in asked.names(MODEL_NAMES):
        module, inputs = next(m for m in MODELS if m.__name__ == name)()
        path = asked.folder / "models.db"
        given = {"example_inputs": inputs, "trials": asked.trials, "tuning_db": path}
        report = tc.tune(module, threads=asked.threads, **given)
        for work in report.workloads:
            yield f"{name}: {work.name} {work.sizes}", f"{work.gain:.3f}", "", True
        whole = report.gain or 0.0
        yield f"{name}: whole", f"{whole:.3f}", ">= 0.99", whole >= GOALS["gain"]


def learned(asked: Asked) -> Iterator[Row]:
    """Trials for the cost model, of workloads that nothing is judged by."""
    for name in asked.names(tuple(LEARNED)):
        path = asked.folder / "learned.db"
        session = tuned(asked, name, path, max(1, asked.trials // 2), random=True)
        yield f"learned: {name}", f"{session.done} trials", "", True


def targets(asked: Asked) -> Iterator[Row]:
    """Records of the same workloads on other vector levels and numbers of threads."""
    for level in ("x86-64-v2", "x86-64-v3", "x86-64-v4"):
        for threads in (1, 2):
            for name in asked.names(tuple(WORKLOADS)):
                try:
                    path = asked.folder / "targets.db"
                    session = tuned(asked, name, path, asked.trials, level, threads)
                except TcError as error:  # this machine cannot run it
                    yield f"{level}, {threads} threads", str(error)[:80], "", True
                    break
                yield f"{level}, {threads}: {name}", f"{session.done} trials", "", True


def model(asked: Asked) -> list[Row]:
    """The cost model on what was kept from it, by the records of all rows.

    The workloads that `search` measured are kept in turn; the others, as `learned` draws them, are
    there to learn from.
    """
    from tc.autotune.database import Database
    from tc.autotune.model_report import report_model
    from tc.autotune.recount import recount
    from tc.autotune.shards import merge

    rows = []
    path = asked.folder / "all.db"
    judged: set[str] = set()
    with Database.open(path) as database:
        for other in sorted(asked.folder.glob("*.db")):
            if other != path:
                with Database.open(other, readonly=True) as known:
                    merge(database, known)
                    if other.stem == "search":
                        judged = {row["hash"] for row in known.query("SELECT hash FROM workloads")}
        recount(database)
        for found in report_model(database, judged=judged):
            score = found.score
            three = (score.pairwise, score.peak1, score.peak5)
            text = " ".join(f"{x:.3f}" for x in (*three, score.peak10))
            whole = found.kept == "workloads"
            goals = GOALS["model"]
            good = all(a >= b for a, b in zip(three, goals, strict=True)) if whole else (
                score.peak10 >= GOALS["target"]
            )  # fmt: skip
            said = " ".join(map(str, goals)) if whole else f"peak@10 >= {GOALS['target']}"
            rows.append((f"model, kept: {found.kept}: pairwise, peak@1, 5, 10", text, said, good))
    return rows


def rate(asked: Asked) -> Iterator[Row]:
    """Trials a minute of gemm-size workloads, from nothing, and the search's own share."""
    for name in asked.names(("gemm large", "gemm M=16")):
        path = asked.folder / f"rate {time.time_ns()}.db"
        start = time.monotonic()
        session = tuned(asked, name, path, asked.trials)
        seconds = time.monotonic() - start
        path.unlink()
        speed, share = 60 * session.done / seconds, session.search_seconds / seconds
        yield f"{name}: trials a minute", f"{speed:.0f}", ">= 120", speed >= GOALS["rate"]
        yield f"{name}: the search's share", f"{share:.2f}", "<= 0.20", share <= GOALS["share"]


def bert(asked: Asked) -> list[Row]:
    """BERT-base with 512 trials, from nothing."""
    import tc
    from benchmarks.zoo import MODELS as WHOLE

    path = asked.folder / f"bert {time.time_ns()}.db"
    made = WHOLE["BERT-base"]
    inputs = next(m for m in MODELS if m.__name__ == "bert_base")()[1]
    start = time.monotonic()
    tc.tune(made.build(), example_inputs=inputs, trials=512, tuning_db=path)
    seconds = time.monotonic() - start
    return [("BERT-base, 512 trials", f"{seconds / 60:.1f} min", "<= 10 min",
             seconds <= GOALS["bert"])]  # fmt: skip


def warm(asked: Asked) -> Iterator[Row]:
    """The time to compile with records over that without, with nothing compiled before.

    Each goes first in turn, and the least time of each counts. The records are those of `gain`;
    before there are any, those that ship.
    """
    import gc
    import tempfile

    from tc.frontend.model import pipeline
    from tc.frontend.options import Options
    from tc.frontend.tuning_subject import TorchSubject
    from tc.pipeline import compile_graph

    for name in asked.names(MODEL_NAMES):
        module, inputs = next(m for m in MODELS if m.__name__ == name)()
        path = asked.folder / "models.db"
        options = Options.of("host", "fp32", asked.threads, path if path.exists() else None)
        graphs = [part.graph for part in TorchSubject(module, options, inputs).parts]
        least = {"with": math.inf, "without": math.inf}
        end = time.monotonic() + WARM_SECONDS
        for number in range(WARM_MOST):
            if number >= WARM_ROUNDS and time.monotonic() > end:
                break
            for kind in ("with", "without")[:: 1 if number % 2 else -1]:
                with tempfile.TemporaryDirectory() as folder:
                    own = replace(options, cache_dir=Path(folder))
                    gc.collect()  # what one leaves behind is not the next one's work
                    start = time.perf_counter()
                    for graph in graphs:
                        pipeline(graph, own) if kind == "with" else compile_graph(graph, own)
                    least[kind] = min(least[kind], time.perf_counter() - start)
        ratio = least["with"] / least["without"]
        yield (f"{name}: compiling with records over without", f"{ratio:.3f}", "<= 1.10",
               ratio <= GOALS["warm"])  # fmt: skip


ROWS: dict[str, Callable[[Asked], Iterable[Row]]] = {
    "search": search, "gain": gain, "learned": learned, "targets": targets, "model": model,
    "rate": rate, "bert": bert, "warm": warm,
}  # fmt: skip

TIMED = ("rate", "bert", "warm")
"""Rows that time whole runs, so that other work counts as theirs; the others take turns."""


def rows_of(name: str, asked: Asked, force: bool) -> Iterable[Row]:
    """What a row finds, each as soon as it is known; that it was refused, where others use the
    cores."""
    if name in TIMED:
        try:
            load.require_quiet(load.chosen_cores(), force)
        except load.LoadError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            return [(name, "refused", "quiet cores", False)]
    return ROWS[name](asked)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run rows and print them; 1 if one misses its goal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--folder", type=Path, default=Path("tuning-bench"))
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--random", type=int, default=1000)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", action="append", default=[], help="a workload or model")
    parser.add_argument("--curves", type=Path, help="draw the curves of `search` as PNG")
    parser.add_argument("--force", action="store_true", help="time on a busy machine all the same")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    given = parser.parse_args(arguments)
    unknown = [r for r in given.rows if r not in ROWS]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    given.folder.mkdir(parents=True, exist_ok=True)
    asked = Asked(given.folder, given.trials, given.random, given.threads, tuple(given.only))
    found: list[Row] = []
    for name in given.rows or ROWS:
        for row in rows_of(name, asked, given.force):
            found.append(row)
            what, measured, wanted, good = row
            mark = "" if not wanted else "reached" if good else "MISSED"
            print(f"{what:64} {measured:>28} {wanted:>20} {mark}".rstrip(), flush=True)
    about = {"date": datetime.date.today().isoformat(), "cpu": _cpu()}
    if given.json is not None:
        given.json.write_text(json.dumps({**about, "rows": found}, indent=1) + "\n")
    if given.curves is not None and asked.curves:
        draw(given.curves, asked.curves, f"{about['cpu']}, {about['date']}")
    return int(not all(good for *_, good in found))


def _cpu() -> str:
    from tc.device.physical import cpu_name

    return cpu_name()


def draw(path: Path, curves: dict[str, list[float]], title: str) -> None:
    """The best so far of each workload, over its default, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        axes.step(range(1, len(curve) + 1), [1 / x for x in curve], where="post", label=name,
                  linestyle=("-", "--")[number // 10])  # fmt: skip
    axes.set_xlabel("trials")
    axes.set_ylabel("default's time over the best one's")
    axes.set_title(title)
    figure.legend(fontsize="x-small", loc="outside right upper")
    figure.savefig(path, format="png", dpi=120)


if __name__ == "__main__":
    raise SystemExit(main())
