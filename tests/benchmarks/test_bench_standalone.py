"""Exported models in the benchmark: the C interface, what is held against what, the figures."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.comparison import Measured
from benchmarks.compile import child, judge
from benchmarks.part import Options
from benchmarks.runner import Result
from benchmarks.standalone import PART, PEERS, ROWS, judge_row, run, table
from benchmarks.standalone_child import measure_export, private_bytes
from benchmarks.standalone_folder import (
    MODULE,
    build_figures,
    digests,
    equal_figure,
    export_figures,
    memory_figure,
    start_figure,
)
from benchmarks.standalone_workers import LAYERS, c, export_child, layer_inputs, layer_reference
from benchmarks.verdict import GOALS

CORE = min(os.sched_getaffinity(0))
BY_NAME = {row.name: row for row in ROWS}


def no_rate(size: int) -> float:
    raise AssertionError(size)


SMAPS = """\
7f00-7f10 r--s 00000000 08:01 77 /tmp/a folder/weights.bin
Private_Clean:        4096 kB
Private_Dirty:           0 kB
7f20-7f30 rw-p 00000000 00:00 0
Shared_Clean:            8 kB
Private_Clean:           4 kB
Private_Dirty:          12 kB
7f40-7f50 r-xp 00000000 08:01 78 /tmp/a folder/model_cli
Private_Clean:          16 kB
Private_Dirty:           0 kB
VmFlags: rd ex mr mw me
"""


def ok(name: str, ratio: float, inside: float = 0.0, inside_ratio: float = float("nan")) -> Result:
    return Result(
        name, "ok", median=ratio * 0.01, ratio=ratio, inside=inside, inside_ratio=inside_ratio
    )


def test_every_row_has_goals_and_its_contenders_are_known():
    for row in ROWS:
        assert set(row.factories) <= set(PEERS)
        assert row.targets
        for target in row.targets:
            assert target.goal in GOALS
            assert {*target.own, target.peer} <= set(row.factories)
    assert len(set(PART.rows())) == len(ROWS) + 1


def test_a_layer_is_held_against_eager_by_its_time_in_c():
    row = BY_NAME["LayerNorm [1, 768]"]
    results = (ok("c", 1.0, 4e-6, 1.0), ok("c 1 thread", 0.9, 1e-6, 0.25), ok("eager", 5.0))
    results = (*results[:2], replace(results[2], inside_ratio=6.0))
    (found,) = judge_row(row, Measured(row.name, results), no_rate)
    assert (found.row, found.value) == ("LayerNorm [1, 768]: c 1 thread", 24.0)
    assert found.text == "aim met"
    assert table([(row, Measured(row.name, results))]).rows == (
        (row.name, "", "", "0.0040", "0.0010", "50.00", "", ""),
    )


def test_a_layer_that_streams_its_weights_cannot_be_faster_than_memory():
    row = BY_NAME["Linear 768 → 50257"]
    results = (ok("c", 1.0, 0.01, 1.0), replace(ok("eager", 2.0), inside_ratio=2.0))
    measured = Measured(row.name, results, {"bytes": 160e6})
    (found,) = judge_row(row, measured, lambda size: 16.8 if size == 160_000_000 else 0.0)
    assert found.limit == pytest.approx(2.1)
    assert found.text == "aim met"  # 2.0 is over 92 % of what memory allows
    assert "allows 2.10×" in found.beyond


def test_c_is_held_against_llvm_and_a_generation_against_others_too():
    row = BY_NAME["GPT-2 decode"]
    missing = Result("llama.cpp", "unavailable", "not installed")
    results = (ok("tc", 1.0), ok("tc c", 1.2), ok("c", 1.04), ok("transformers", 2.6), missing)
    found = judge_row(row, Measured(row.name, results), no_rate)
    assert [each.text for each in found] == [
        "missed by 14%",
        "must met",
        "aim met",
        "no figure: llama.cpp unavailable: not installed",
    ]
    assert [each.value for each in found[:3]] == [1.2, 1.04, 2.5]


def test_a_row_that_was_refused_says_why():
    row = BY_NAME["BERT-base b1 s128"]
    (one, _) = judge_row(row, Measured(row.name, refused="no cores"), no_rate)
    assert one.text == "no figure: tc c unavailable: no cores"


def test_busy_cores_refuse_all_rows():
    found = run(Options(rows=("LayerNorm",), cores=(CORE,), watch=lambda cores: 0.5))
    assert found.failed
    assert "50% busy" in found.verdicts[0].reason


def test_figures_of_the_folder():
    slow = {"compile_seconds": 9.0, "export_seconds": 30.0, "lines": 1, "weights_bytes": 2}
    fast = {"compile_seconds": 5.0, "export_seconds": 20.0, "lines": 7, "weights_bytes": 5_000_000}
    figures = [
        *export_figures(slow, fast),
        equal_figure({"a": "1", "b": "2"}, {"a": "1", "b": "3"}),
        *build_figures({"seconds": 66.0, "peak_bytes": 2**29}),
        start_figure({"seconds": 0.2}),
        memory_figure({"private_bytes": 150_000_000}),
    ]
    texts = {each.row: each.text for each in judge(figures)}
    assert texts == {
        "tc.compile and export_c": "aim met",
        "equal files of two exports (b differ)": "missed by 50%",
        "make CC=gcc": "missed by 10%",
        "make CC=gcc: peak memory": "aim met",
        "start to first token": "aim met",
        "private memory beyond weights.bin": "missed by 50%",
    }
    assert {figure.what: figure.value for figure in figures}["weights.bin"] == "5 MB"


def test_figures_that_could_not_be_had():
    bad = {"unavailable": "no gcc"}
    found = [*export_figures({}, bad), *build_figures(bad), start_figure(bad), memory_figure(bad)]
    assert {figure.reason for figure in found} == {"no gcc"}
    assert child(["nonsense"], (CORE,), "/nowhere", MODULE)["unavailable"].startswith("unknown")


def test_digests_see_every_file(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    one = digests(tmp_path)
    assert equal_figure(one, digests(tmp_path)).number == 1.0
    (tmp_path / "b").write_bytes(b"1")
    assert equal_figure(one, digests(tmp_path)).number == 0.5


def test_private_memory_leaves_out_the_mapped_weights():
    assert private_bytes(SMAPS, "/weights.bin") == 32 * 1024


@pytest.fixture
def settings_of_torch():
    """What a worker process sets for itself ends with the test that stands in for one."""
    torch = pytest.importorskip("torch")
    gradients, threads = torch.is_grad_enabled(), torch.get_num_threads()
    yield
    torch.set_grad_enabled(gradients)
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("settings_of_torch")
@pytest.mark.skipif(
    shutil.which("gcc") is None or shutil.which("make") is None, reason="needs gcc and make"
)
def test_an_exported_layer_is_called_from_c(tmp_path):
    case = {"layer": "LayerNorm [1, 768]", "scratch": str(tmp_path)}
    measured = measure_export(case, tmp_path / "exported")
    assert measured["lines"] > 100
    assert measured["weights_bytes"] >= 2 * 768 * 4
    prepared = c(case, threads=1)
    prepared.call()
    assert prepared.inside is not None
    assert prepared.inside() > 0
    wanted = layer_reference(case)
    np.testing.assert_allclose(
        prepared.to_array(prepared.call()), wanted.to_array(wanted.call()), atol=1e-5
    )


def test_an_export_that_fails_says_so(tmp_path):
    with pytest.raises(RuntimeError, match="export: KeyError: 'no such'"):
        export_child({"layer": "no such"}, Path(tmp_path) / "out")


def test_inputs_of_a_layer_are_the_same_each_time():
    for name, layer in LAYERS.items():
        case = json.loads(json.dumps({"layer": name}))
        one, other = layer_inputs(case), layer_inputs(case)
        assert [array.shape for array in one] == list(layer.shapes)
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
