"""The pipeline end to end: models of the zoo as machine code, against the captured graphs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tc.device.artifact import Artifact, KernelCall, Place
from tc.device.run import Program
from tc.device.run_code import load_functions
from tc.errors import TcError
from tc.frontend import capture_tree as tree
from tc.frontend.capture import capture
from tc.frontend.captured import Captured
from tc.frontend.importer import import_graph
from tc.frontend.tensors import TorchArrays
from tc.ir.loop import Func
from tc.ir.verify import verify
from tc.pipeline import Schedules, analytical, assemble, compile_graph, naive
from tc.target import Target
from tests.captures import captured
from tests.models import Entry, entry, families

HOST = Target.parse("host")


@dataclass(frozen=True)
class Settings:
    cache_dir: Path | None = None
    target: Target = HOST
    precision: str = "fp32"
    dump_ir: Path | None = None
    debug: int = 0
    codegen: str = "llvm"


def verified(_name: str, ir: object) -> None:
    if isinstance(ir, Func):
        verify(ir)


def program(
    model: Captured, folder: Path | None, schedules: Schedules = naive, threads: int = 1
) -> Program:
    found = import_graph(model)
    artifact = compile_graph(found.graph, Settings(folder), schedules, verified).artifact
    number = {v.name: n for n, v in enumerate(found.graph.params)}
    weights = [found.weights[number[p.name]] for p in artifact.params]
    return Program(artifact, load_functions(artifact), TorchArrays(), weights, threads=threads)


def flat(call: dict[str, Any]) -> list[torch.Tensor]:
    tensors: list[torch.Tensor] = []
    tree.flatten(([], call), tensors, [], "")
    return tensors


def assert_serves(model: Captured, made: Program, calls: list[dict[str, Any]]) -> None:
    for call in calls:
        tensors = flat(call)
        with torch.no_grad():
            expected = model.graph(*[w.tensor for w in model.weights], *tensors)
        for ours, theirs in zip(made(tensors), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=5e-6)


@pytest.mark.parametrize("each", families(), ids=lambda each: each.name)
def test_obvious_loops_compute_what_the_model_does(each: Entry, tmp_path: Path) -> None:
    found = captured(each.name)
    assert_serves(found, program(found, tmp_path), list(each.variants()))


@pytest.mark.parametrize("name", ["llama-lm", "vit"])
def test_default_schedules_compute_what_the_model_does(name: str, tmp_path: Path) -> None:
    found = captured(name)
    made = program(found, tmp_path, analytical, 2)
    assert_serves(found, made, list(entry(name).variants()))


def test_an_empty_batch_gives_empty_results() -> None:
    call = {name: t[:0] for name, t in entry("bert").inputs(2, 5).items()}
    made = program(captured("bert"), None)
    assert [tuple(t.shape) for t in made(flat(call))] == [(0, 5, 32), (0, 32)]


@cache
def scheduled_bert() -> Artifact:
    return assemble(import_graph(captured("bert")).graph, HOST).artifact


def test_equal_layers_share_their_kernels() -> None:
    artifact = scheduled_bert()
    calls = [s.kernel for s in artifact.main if isinstance(s, KernelCall)]
    assert len(calls) == 2 + 2 * 7 + 1
    assert len(set(calls)) == 2 + 6 + 1  # both layer norms of a layer are one kernel too


def test_weights_are_packed_by_prepare_steps() -> None:
    artifact = scheduled_bert()
    assert any("pack(" in k.schedule for k in artifact.kernels)
    kept = {s.number for s in artifact.storages if s.place is Place.PREPARED}
    read = {
        artifact.storages[b].number
        for step in artifact.main
        if isinstance(step, KernelCall)
        for b in step.buffers
        if artifact.storages[b].place is Place.PREPARED
    }
    assert kept == read  # the unpacked copies are temporary


def test_what_is_only_packed_is_packed_at_once() -> None:
    artifact = scheduled_bert()
    places = [s.place for s in artifact.storages]
    lives: dict[int, list[int]] = {}
    for number, step in enumerate(artifact.prepare):
        assert isinstance(step, KernelCall)
        for b in step.buffers:
            if places[b] is Place.TEMP:
                lives.setdefault(b, []).append(number)
    assert len(lives) == 2  # the weights of q, k and v together, in each layer
    assert all(second == first + 1 for first, second in lives.values())


def test_every_pass_can_be_seen() -> None:
    graph = import_graph(captured("distilbert")).graph
    seen: dict[str, str] = {}
    assemble(graph, HOST, naive, lambda name, ir: seen.update({name: str(ir)}))
    assert list(seen)[:3] == ["import", "dead_code", "pad_convolutions"]
    assert any(name.endswith(".scheduled") for name in seen)
    assert seen["import"] == str(graph)


class Counter(nn.Module):
    def forward(self, state: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        state.add_(x)
        return state * 2


def test_inputs_that_the_model_writes_to_are_written() -> None:
    state, x = torch.rand(3, 4), torch.rand(3, 4)
    made = program(capture(Counter(), (), {"state": state, "x": x}), None)
    expected = state + x
    (out,) = made([state, x])
    torch.testing.assert_close(out, expected * 2)
    torch.testing.assert_close(state, expected)


class Sorted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.matrix_exp(x * 2).transpose(0, 1) + 1


def test_an_operator_that_tc_lacks_runs_eagerly_between_kernels() -> None:
    x = torch.rand(3, 3)
    found = capture(Sorted(), (), {"x": x})
    assert_serves(found, program(found, None), [{"x": x}])


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.exp(x), torch.exp(x), torch.exp(x).reshape(-1), torch.exp(x).T


def test_results_that_are_one_value_have_memory_of_their_own() -> None:
    x = torch.rand(3, 4)
    found = capture(Twice(), (), {"x": x})
    made = program(found, None)
    assert_serves(found, made, [{"x": x}])
    assert len({t.data_ptr() for t in made([x])}) == 4


class Tied(nn.Module):
    """Rows of a table, and their products with all of it."""

    def __init__(self, scaled: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(37, 24)
        self.scaled = scaled

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Scores of every row."""
        rows = self.table(ids)
        table = self.table.weight * 2.0 if self.scaled else self.table.weight
        return nn.functional.linear(torch.tanh(rows), table)


@pytest.mark.parametrize("schedules", [analytical, naive])
def test_a_table_that_a_product_reads_too_is_kept_once(
    schedules: Schedules, tmp_path: Path
) -> None:
    call = {"ids": torch.tensor([[0, 36, 5], [24, 23, 1]])}
    found = capture(Tied().eval(), (), call)
    made = program(found, tmp_path, schedules)
    assert_serves(found, made, [call])
    artifact = made.artifact
    places = {s.place for s in artifact.main for s in map(artifact.storages.__getitem__, s.buffers)}
    # The obvious loops pack nothing; else both read what is packed, and the parameter nobody.
    packed = schedules is analytical
    assert (Place.PREPARED in places, Place.PARAM in places) == (packed, not packed)
    gather = artifact.kernels[artifact.main[0].kernel]
    assert ("pack(p0, 0, " in gather.schedule) == packed
    with pytest.raises(TcError, match="index out of range"):
        made([torch.tensor([[37]])])


def test_a_table_beside_what_is_made_of_it_stays_as_it_is(tmp_path: Path) -> None:
    call = {"ids": torch.tensor([[0, 36, 5]])}
    found = capture(Tied(scaled=True).eval(), (), call)
    made = program(found, tmp_path, analytical)
    assert_serves(found, made, [call])
    assert not any("pack(p0, 0" in k.schedule for k in made.artifact.kernels if "embed" in k.name)
