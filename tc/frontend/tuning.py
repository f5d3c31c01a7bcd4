"""`tc.tune`: what it takes is checked, the machine described, and the search set going.

This module must not search, nor know what a program is made of.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from tc.autotune.cluster import Cluster, Slot
from tc.autotune.cost_model import shipped_model
from tc.autotune.database import Database
from tc.autotune.measure import Measurer
from tc.autotune.records import versions
from tc.autotune.report import TuningReport
from tc.autotune.rows import TargetRow, target_row
from tc.autotune.session import Bound, Job, Measures, Session
from tc.autotune.static import Throughput
from tc.autotune.tune import NoChoiceError, Plan, Subject, predicted, tune
from tc.config import read as read_config
from tc.device.physical import host_device
from tc.errors import TuningError, UnsupportedError, describe
from tc.frontend.capture_tree import NoProgramError
from tc.frontend.captured import TraceError
from tc.frontend.hf_natural import natural_inputs
from tc.frontend.options import Options
from tc.frontend.tuned import processor, require_here, runs_here
from tc.frontend.tuning_foreign import ForeignSubject
from tc.frontend.tuning_subject import GraphSubject, TorchSubject
from tc.graph.graph import Graph
from tc.target import Target


def tune_model(
    model: Any,
    *,
    target: str | Target = "host",
    example_inputs: tuple[Any, ...] | Mapping[str, Any] | None = None,
    trials: int = 512,
    tuning_db: str | os.PathLike[str] | None = None,
    seed: int = 0,
    time_limit: float | None = None,
    precision: str = "fp32",
    threads: int | None = None,
    dynamic: bool = True,
    cluster: str | None = None,
    tick: Callable[[Session, Job], None] | None = None,
) -> TuningReport:
    """See `tc.tune`."""
    plan = Plan(trials, seed, time_limit)
    options = Options.of(target, precision, threads, None, dynamic)
    if not isinstance(model, torch.nn.Module):
        raise UnsupportedError(
            describe(
                f"model of type {type(model).__name__}",
                why="not a torch.nn.Module",
                way_out="pass a module",
            )
        )
    slot = Slot(str(options.target), processor(options.target), versions())
    here = runs_here(options.target)

    def subject() -> Subject:
        kind = TorchSubject if here else ForeignSubject
        return kind(model, options, _example(model, example_inputs))

    with contextlib.ExitStack() as stack:
        measurer: Measures | None = None
        if cluster is not None:
            measurer = stack.enter_context(Cluster(cluster, slot))
        elif here:
            measurer = stack.enter_context(Measurer(options.cache_dir))
        return _tuned(subject, options, tuning_db, plan, measurer, tick)


def tune_first(model: Any, **given: Any) -> None:
    """As `tune_model`, before compiling: a model in which nothing has a choice, or that runs
    eagerly, is as it can be."""
    with contextlib.suppress(NoChoiceError, NoProgramError, TraceError):
        tune_model(model, **given)


def tune_graph(
    name: str,
    graph: Graph,
    options: Options,
    trials: int,
    weights: Sequence[torch.Tensor],
    tensors: Sequence[torch.Tensor],
) -> TuningReport | None:
    """Tune one graph for a call of it; None where nothing in it has a choice.

    Args:
        weights: in the order of the graph's parameters.

    Raises:
        TuningError: as `tune_model`.
    """
    require_here(options.target)
    try:
        with Measurer(options.cache_dir) as measurer:
            return _tuned(
                lambda: GraphSubject(name, graph, options, weights, tensors),
                options,
                options.tuning_db,
                Plan(trials),
                measurer,
            )
    except NoChoiceError:
        return None


def _tuned(
    subject: Callable[[], Subject],
    options: Options,
    tuning_db: str | os.PathLike[str] | None,
    plan: Plan,
    measurer: Measures | None,
    tick: Callable[[Session, Job], None] | None = None,
) -> TuningReport:
    """Tune what `subject` makes; predict, where nobody measures."""
    with open_records(options, tuning_db) as database:  # before any work that would be for nothing
        if measurer is not None:
            measurer.get_ready()  # while the model is captured
        made = subject()
        row, bound = machine(options.target, options.threads)
        wanted = made.wanted()
        given = (made, database, row, versions(), options.threads, plan)
        if measurer is None:
            return predicted(*given, wanted, Throughput(options.target), shipped_model(), tick=tick)
        return tune(*given, measurer, wanted, bound=bound, base=shipped_model(), tick=tick)


def open_records(options: Options, tuning_db: str | os.PathLike[str] | None) -> Database:
    """The database that somebody names, else that of the options, made where there is none."""
    if tuning_db is not None:
        return Database.open(os.fspath(tuning_db))
    return Database.own(options.tuning_db)


def prepare_records(tuning_db: str | os.PathLike[str] | None) -> None:
    """Make the database that somebody names, where there is none."""
    if tuning_db is not None:
        Database.open(os.fspath(tuning_db)).close()


def machine(target: Target, threads: int) -> tuple[TargetRow, Bound]:
    """The row of a target, with the rates measured here if this is such a machine."""
    if not runs_here(target):
        return target_row(target, ""), Bound()
    # Kept in the cache folder: what is proposed follows from them too, and a run that is stopped
    # is to go on as it would have gone on.
    properties = host_device(read_config().cache_dir).properties
    one, all_ = properties.peak_gflops_core or 0.0, properties.peak_gflops or 0.0
    slow, fast = properties.bandwidth_core or 0.0, properties.bandwidth or 0.0
    row = replace(
        target_row(target, processor(target)),
        peak_gflops_core=one or None,
        peak_gflops=all_ or None,
        bandwidth_core=slow or None,
        bandwidth=fast or None,
        measured_on=properties.measured_on,
    )
    flops, moved = (one, slow) if threads == 1 else (all_, fast)
    return row, Bound(flops * 1e9, moved * 1e9)


def _example(model: torch.nn.Module, given: object) -> tuple[Any, ...] | dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, torch.Tensor):
        return (given,)
    if isinstance(given, (tuple, list)):
        return tuple(given)
    found = natural_inputs(model) if given is None else None
    if found is None:
        raise TuningError(
            describe(
                f"model {type(model).__name__}",
                why="nothing says what it is called with"
                if given is None
                else f"example_inputs are a {type(given).__name__}",
                way_out="pass example_inputs, a tuple or a dict, of the sizes to tune for",
            )
        )
    return dict(found)
