"""Compile time, memory and overhead: the arithmetic of it, and a child that fails."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from benchmarks.compile import (
    child,
    compile_figures,
    judge,
    load_figures,
    seconds_figure,
)
from benchmarks.compile_child import call_overhead, covered, memory, numbers, reset_peak

CORE = min(os.sched_getaffinity(0))
FOUND: dict[str, Any] = {
    "compile_seconds": 4.0,
    "first_call_seconds": 0.5,
    "export_seconds": 1.5,
    "after_export_seconds": 2.75,
    "llvm_seconds": 1.25,
    "weights_bytes": 100,
    "compile_peak_bytes": 150,
    "running_peak_bytes": 110,
    "stats": {"last_kernel_seconds": 2.0, "calls": 1},
}


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.5e-6, "12.5 µs"), (0.25, "250 ms"), (4.5, "4.50 s")]
)
def test_times_are_shown_in_a_fitting_unit(seconds, text):
    assert seconds_figure("a", seconds).value == text


def test_figures_of_a_compile_are_held_against_the_goals():
    shown = {figure.what: figure for figure in compile_figures("tc", "cold", FOUND)}
    assert shown["tc cold: compile and first call"].number == 4.5
    assert shown["tc cold: compile and first call"].goal == "compile cold"
    assert shown["tc cold: of it after torch.export"].number == 2.75
    assert shown["tc cold: of it after torch.export"].goal == "compile after export"
    assert shown["tc cold: of that outside LLVM"].number == 1.5
    assert shown["tc cold: of that outside LLVM"].goal == "compile outside LLVM"
    assert shown["tc cold: peak memory, compiling"].value == "1.50 × weights"
    assert shown["tc cold: peak memory, running"].value == "1.10 × weights"
    assert shown["tc cold: stats last_kernel_seconds"].value == "2.00 s"
    assert "tc cold: stats calls" not in shown
    texts = {each.row: each.text for each in judge(list(shown.values()))}
    assert texts["tc cold: compile and first call"] == "must met"
    assert texts["tc cold: peak memory, compiling"] == "missed by 15%"
    assert texts["tc cold: peak memory, running"] == "aim met"


def test_spans_that_overlap_count_once():
    assert covered([]) == 0
    assert covered([(4, 5), (0, 2), (1, 3), (1, 2)]) == 4


def test_peers_have_no_goals():
    assert judge(compile_figures("inductor", "warm", FOUND)) == []


def test_unavailable_gives_its_reason():
    (figure,) = compile_figures("tc", "cold", {"unavailable": "no tc"})
    assert (figure.value, figure.reason, figure.number) == ("unavailable", "no tc", None)
    assert [each.text for each in judge([figure])] == ["no figure: no tc"]


def test_figures_of_loading():
    saved = {"save_seconds": 0.2, "file_bytes": 110, "weights_bytes": 100}
    loaded = {"load_seconds": 0.01, "first_call_seconds": 0.02, "peak_bytes": 120}
    shown = {figure.what: figure for figure in load_figures(saved, loaded)}
    assert shown["tc.load alone"].value == "10 ms"
    assert shown["tc.load: peak memory, with calls"].number == 1.2
    (broken,) = load_figures({"unavailable": "disk full"}, {})
    assert broken.reason == "disk full"


def test_a_goal_in_microseconds_is_held_against_seconds():
    (found,) = judge([seconds_figure("call", 8e-6, "call plain", 1e6)])
    assert (found.value, found.text) == (pytest.approx(8.0), "must met")


def test_child_that_fails_gives_its_last_line(tmp_path):
    assert child(["nonsense"], (CORE,), str(tmp_path)) == {
        "unavailable": "unknown measurement ['nonsense']"
    }


def test_peak_memory_is_seen_and_reset():
    before = memory("VmRSS")
    block = bytearray(os.urandom(1 << 20)) * 64
    assert memory("VmHWM") >= before + (60 << 20)
    del block
    reset_peak()
    assert memory("VmHWM") < before + (60 << 20)


def test_overhead_is_what_lies_outside_compiled_code():
    pytest.importorskip("torch")

    class Compiled:
        def __call__(self) -> None:
            time.sleep(0.0002)

        def stats(self) -> dict[str, float]:
            return {"last_kernel_seconds": 0.0001}

    found = call_overhead(Compiled(), {})
    assert found["call_seconds"] >= 0.0002
    assert found["overhead_seconds"] == pytest.approx(found["call_seconds"] - 0.0001)


def test_only_numbers_of_stats_are_kept():
    assert numbers({"a": 1, "b": 2.5, "fallbacks": {"x": 1}}) == {"a": 1, "b": 2.5}
