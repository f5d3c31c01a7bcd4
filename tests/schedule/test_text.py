"""Schedules as one line of text, and what is said of a line that is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tc.errors import ScheduleError
from tc.schedule.apply import Scheduled, apply
from tc.schedule.rewrite import PRIMITIVES
from tc.schedule.step import Schedule, Step
from tests.schedule import kernels

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True)
ARGS = st.one_of(NAMES, st.integers(-(10**6), 10**6))
STEPS = st.builds(
    lambda name, args, options: Step(name, tuple(args), tuple(sorted(options.items()))),
    st.sampled_from(sorted(PRIMITIVES)),
    st.lists(ARGS, max_size=4),
    st.dictionaries(NAMES, ARGS, max_size=2),
)


@given(st.lists(STEPS, max_size=6))
def test_parse_of_print_is_the_schedule(steps: list[Step]) -> None:
    schedule = Schedule(tuple(steps))
    assert Schedule.parse(str(schedule)) == schedule


def test_the_text_of_a_schedule() -> None:
    schedule = Schedule().then("split", "i", 8, tail="cut").then("relax")
    assert str(schedule) == "split(i, 8, tail=cut) relax()"
    assert Schedule.parse("  split( i ,8,tail = cut )\n relax()") == schedule
    assert Schedule.parse("") == Schedule()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("split(i, 8", "'split(i, 8' is not a step; steps read like split(i, 8)"),
        ("relax() split", "'split' is not a step"),
        ("Split(i)", "is not a step"),
        ("split(i, 8.5)", "split: argument '8.5' is neither a name nor an integer"),
        ("split(i, tail=a b)", "argument 'a b' is neither"),
        ("split(i; 8)", "argument 'i; 8' is neither"),
    ],
)
def test_text_that_is_no_schedule(text: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        Schedule.parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frobnicate(i)", "frobnicate(i): no primitive 'frobnicate'; there are agree, bake, "),
        ("split(i)", "split(i): missing a required argument: 'factor'"),
        ("split(i, 8, cut, 3)", "too many positional arguments"),
        ("split(i, 8, tale=cut)", "got an unexpected keyword argument 'tale'"),
        ("split(8, i)", "split(8, i): loop is 8, not a name"),
        ("split(i, cut)", "split(i, cut): factor is 'cut', not an integer"),
        ("reorder(i, 3)", "reorder(i, 3): names is 3, not a name"),
    ],
)
def test_steps_that_no_primitive_takes(text: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        apply(kernels.double(), Schedule.parse(text))
    assert message in str(error.value)


def test_the_fluent_form_writes_the_same_steps() -> None:
    s = Scheduled(())
    s = s.split("i", 4).tile("i", "j", 2, 3).fuse("i", "j", "e").reorder("j", "i").unroll("i")
    s = s.vectorize("i", 4).parallel("i").compute_at("t0", "i").inline("t0").cache("p0", "i")
    s = s.pack("p0", 0, 8).relax().rfactor("k", 4).specialize("i").bake("M", 3)
    assert str(s) == (
        "split(i, 4, tail=cut) tile(i, j, 2, 3, tail=ragged) fuse(i, j, e) reorder(j, i) unroll(i) "
        "vectorize(i, 4) parallel(i) compute_at(t0, i, scope=scratch) inline(t0) "
        "cache(p0, i, pad=1, swap=0) pack(p0, 0, 8) relax() rfactor(k, 4, rows=1) specialize(i) "
        "bake(M, 3)"
    )
    assert Schedule.parse(str(s)) == s.schedule
