"""Explanations: the parts of a call add up, the trace is what Perfetto reads, all is named."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tc
from tc import te
from tc.device.artifact import KernelCall
from tc.device.run_explain import explain
from tc.device.run_explanation import Event, Explanation, Roofs, Row, Section
from tc.device.run_profile import CallTime, Profile, Span
from tc.device.run_trace import chrome_trace

CALL = KernelCall(0, (), ())


def section(**given: object) -> Section:
    rows = (
        Row("k0_linear", 2, "[4, 8]", "split(i, 8)", 3e-3, 1e-3, 6000, 400, "compute", 2e-3, 0.67,
            2e-3, ("a", "b"), "f32*f32"),
        Row("aten.sort", 1, "[4]", "(runs eagerly)", 1e-3),
    )  # fmt: skip
    events = (
        Event("k0_linear", 0, 0.0, 1.5e-3),
        Event("k0_linear", 1, 0.1e-3, 1.2e-3),
        Event("aten.sort", 0, 1.6e-3, 2.6e-3),
    )
    made = {"latency": 4.5e-3, "barriers": 1e-4, "fork_join": 2e-4, "call": 3e-4, **given}
    return Section("Net(x) [batch=4]", rows, 2, roofs=Roofs(100.0, 10.0), events=events, **made)


def test_a_step_lasts_from_the_first_beginning_to_the_last_end() -> None:
    time = CallTime(CALL, (), (Span(0, 100, 160), Span(1, 120, 200)))
    assert time.nanoseconds == 100
    assert time.waiting == 100 - (60 + 80) // 2


def test_a_thread_that_the_runtime_did_not_give_takes_no_part() -> None:
    profile = Profile(threads=2)
    profile.begin(1)
    stamps = profile._stamps
    assert stamps is not None
    stamps[0], stamps[1] = 5, 9
    profile.kernels((CALL,), (), (1,))
    assert profile.times[0].spans == (Span(0, 5, 9),)


def test_the_parts_are_summed_and_named() -> None:
    made = section()
    assert made.accounted == pytest.approx(4.6e-3)
    text = str(Explanation((made,)))
    assert text.splitlines()[-1] == (
        "barriers 100.0 µs, fork and join 200.0 µs, call 300.0 µs; together 4.600 ms, "
        "measured 4.500 ms"
    )
    assert "67%" in text
    assert "eager: aten.sort" in text


def test_plain_data_has_the_sum_and_no_events() -> None:
    (found,) = Explanation((section(),)).as_dict()
    assert found["accounted"] == pytest.approx(4.6e-3)
    assert "events" not in found
    json.dumps(found, allow_nan=False)


def test_the_trace_has_a_slice_for_each_kernel_and_thread() -> None:
    trace = json.loads(json.dumps(chrome_trace(Explanation((section(), section())))))
    assert set(trace) == {"traceEvents", "displayTimeUnit"}
    names = [e for e in trace["traceEvents"] if e["ph"] == "M"]
    slices = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert len(names) + len(slices) == len(trace["traceEvents"])
    assert {e["name"] for e in names} == {"process_name", "thread_name"}
    assert len(slices) == 6
    assert {(e["pid"], e["tid"]) for e in slices} == {(p, t) for p in (0, 1) for t in (0, 1)}
    for each in slices:
        assert {"name", "cat", "ts", "dur", "args"} <= set(each)
        assert each["ts"] >= 0
        assert each["dur"] > 0
    first = slices[0]
    assert (first["ts"], first["dur"]) == (0.0, pytest.approx(1500.0))
    assert first["args"]["flops"] == 3000  # of one of its two calls


def test_the_parts_add_up_to_the_latency() -> None:
    """On one thread, a tenth of a millisecond each: other work does not disturb every try."""
    size = 200
    a, b = te.placeholder((size, size)), te.placeholder((size, size))
    k = te.reduce_axis(size)
    c = te.compute((size, size), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k))
    kernel = tc.build(c, threads=1)
    array = np.ones((size, size), np.float32)
    kernel(array, array)
    program = kernel._main.programs[-1]
    for _ in range(100):
        found = explain(program, "gemm", runs=5)
        assert all(part >= 0 for part in (found.barriers, found.fork_join, found.call))
        assert [event.kernel for event in found.events] == [found.rows[0].kernel]
        if abs(found.accounted / found.latency - 1) < 0.1:
            return
    pytest.fail(f"{found.accounted} s are accounted for, {found.latency} s measured")
