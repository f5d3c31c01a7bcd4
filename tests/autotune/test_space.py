"""Spaces: the default is in them, every candidate is legal, drawing follows the seed alone."""

from __future__ import annotations

from random import Random

import pytest

from tc.autotune.space import Space
from tc.frontend.importer import import_graph
from tc.ir.verify import verify
from tc.pipeline import Workload, assemble, default_of
from tc.schedule.apply import apply
from tc.schedule.knobs import read_knobs
from tc.schedule.step import Schedule
from tc.target import Target
from tests.autotune.workloads import WORKLOADS
from tests.captures import captured

V3 = Target.parse("x86-64-v3 cores=2 l3=32M")
TARGETS = [V3, Target.parse("x86-64-v4+avx512vnni cores=2"), Target.parse("arm-neon cores=4")]


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_default_is_in_its_space(name: str) -> None:
    for target in TARGETS:
        workload = WORKLOADS[name](target)
        space = Space(workload)
        assert space.default.schedule == default_of(workload)
        assert space.default.taken == {k: knob.default for k, knob in space.default.asked.items()}


def assert_legal(space: Space, draws: int, random: Random) -> None:
    """Candidates of every origin are legal, and the texts of some say the same as they do."""
    parent = space.default
    for turn in range(draws):
        found = space.draw(random) if turn % 2 == 0 else space.mutate(parent, random)
        parent = found
        verify(found.func)
        if turn % 7 == 0:  # the second building takes as long as the first
            assert space.make(read_knobs(found.knobs)).schedule == found.schedule
        if turn == 0:
            func = space.workload.lowered.func
            assert apply(func, Schedule.parse(str(found.schedule))) == found.func


@pytest.mark.parametrize("name", WORKLOADS)
def test_candidates_are_legal(name: str) -> None:
    for target in TARGETS[:2]:
        assert_legal(Space(WORKLOADS[name](target)), 4, Random(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
def test_many_candidates_are_legal(name: str) -> None:
    # Ten thousand in all; products take longest by far: they are drawn less often.
    draws = 120 if name.startswith("gem") else 500
    for target in TARGETS:
        assert_legal(Space(WORKLOADS[name](target)), draws, Random(7))


def of_model(name: str, family: str) -> Workload:
    """A workload of that family in a model."""
    found: list[Workload] = []
    assemble(import_graph(captured(name)).graph, V3, found.append)
    return next(w for w in found if Space(w).family == family)


@pytest.mark.parametrize("family", ["attention", "rows"])
def test_candidates_of_a_model_are_legal(family: str) -> None:
    assert_legal(Space(of_model("bert", family)), 3, Random(3))


def test_a_neighbour_differs_in_one_decision() -> None:
    space = Space(WORKLOADS["gemm, few rows"](V3))
    names = {next(k for k in w if w[k] != space.default.taken[k])
             for w in space.neighbours(space.default)}  # fmt: skip
    assert names == {k for k, knob in space.default.asked.items() if len(knob.values) > 1}
    assert all(
        sum(w[k] != space.default.taken[k] for k in w) == 1 for w in space.neighbours(space.default)
    )


def test_drawing_is_a_function_of_the_seed() -> None:
    def drawn(seed: int) -> list[str]:
        space = Space(WORKLOADS["gemm, odd"](V3))
        random = Random(seed)
        one, other = space.draw(random), space.draw(random)
        return [one.knobs, other.knobs, space.cross(one, other, random).knobs,
                space.mutate(one, random).knobs]  # fmt: skip

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_spaces_are_as_large_as_their_families_promise() -> None:
    sizes = {name: Space(build(V3)).size() for name, build in WORKLOADS.items()}
    assert min(sizes[n] for n in sizes if n.startswith(("gemm", "gemv"))) > 500
    assert min(sizes.values()) > 1
