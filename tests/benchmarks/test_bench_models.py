"""Rows of whole models: selection, refusal, notes, and the tables and verdicts made of them."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import decode, precision
from benchmarks.comparison import Comparison, Measured, compare, details, overview, ratio_to
from benchmarks.decode import DECODERS, ENCODER_DECODERS, most_tokens
from benchmarks.models import ROWS, judge, peak_seconds, shares
from benchmarks.part import Options
from benchmarks.runner import Result, Settings
from benchmarks.zoo import GENERATIVE, MODELS, case_inputs, prompt_ids
from tests.benchmarks.fakes import FakeMachine

CORE = min(os.sched_getaffinity(0))
NAMES = ("doubles", "sleeps", "missing")
FACTORIES = {name: f"tests.benchmarks.fakes:{name}" for name in NAMES}
ROW = Comparison("a row", {"x": 3}, FACTORIES, FACTORIES["doubles"], Settings(2, 0.001))
MACHINE = FakeMachine(gflops=100.0, gbytes=10.0)


def options(busy: float, force: bool, peers: tuple[str, ...] = ()) -> Options:
    return Options(cores=(CORE,), force=force, watch=lambda _: busy, peers=peers)


def result(name: str, median: float, ratio: float = 1.0, share: float = 0.5) -> Result:
    return Result(name, "ok", error=0.0, median=median, ratio=ratio, share=share)


def test_rows_name_models_that_exist():
    assert {row.model for row in ROWS} == set(MODELS)
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {row.model for row in (*DECODERS, *ENCODER_DECODERS)} == set(GENERATIVE)


def test_selection_by_part_of_a_name():
    names = [row.name for row in ROWS]
    assert Options(rows=("bert-base b1 s37",)).chosen(names) == ["BERT-base b1 s37"]
    assert Options().chosen(names) == names
    with pytest.raises(ValueError, match="no row matches ELIZA; rows: MiniLM-L6 b1 s16"):
        Options(rows=("ELIZA",)).chosen(names)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_inputs_have_the_rows_shape_and_are_reproducible(row):
    given, again = case_inputs(row.case), case_inputs(row.case)
    for name, array in given.items():
        assert array.shape[0] == row.batch
        assert array.shape[-1] == row.length
        assert (array == again[name]).all()


def test_sentences_of_a_padded_batch_have_different_lengths():
    (row,) = (row for row in ROWS if row.padded)
    lengths = case_inputs(row.case)["attention_mask"].sum(axis=1).tolist()
    assert lengths == [200, 160, 120, 80]


def test_prompts_have_no_special_tokens_and_are_reproducible():
    ids = prompt_ids(DECODERS[0].case)
    assert ids.shape == (1, 32)
    assert ids.dtype == np.int64
    assert ids.min() >= 10
    assert (ids == prompt_ids(DECODERS[0].case)).all()


def test_a_row_is_checked_then_timed_and_tabulated():
    measured = compare(ROW, options(busy=0.0, force=False))
    assert [result.state for result in measured.results] == ["ok", "wrong", "unavailable"]
    assert measured.failed
    table = overview("T", [measured], NAMES)
    assert table.rows[0][0] == "a row"
    assert table.rows[0][1].endswith("1.00×")
    assert table.rows[0][2:] == ("wrong", "unavailable")
    assert any("no framework" in note for note in table.notes)
    assert [row[1] for row in details([measured]).rows] == ["doubles"]


def test_only_the_contenders_that_were_asked_for_take_part():
    measured = compare(ROW, options(0.0, False, peers=("doubles",)))
    assert [result.name for result in measured.results] == ["doubles"]
    assert measured.result("sleeps").state == "unavailable"


def test_busy_cores_refuse_a_row_or_mark_it():
    refused = compare(ROW, options(busy=0.5, force=False))
    assert refused.results == ()
    assert "50% busy" in refused.refused
    assert refused.failed
    forced = compare(ROW, options(busy=0.5, force=True))
    notes = overview("T", [forced], NAMES).notes
    assert "a row: UNRELIABLE, the cores were 50% busy (--force)" in notes


def test_spinning_while_idle_is_noted():
    spinning = Measured("a row", (Result("a", "ok", median=1e-3, ratio=1.0, idle_share=0.4),))
    assert overview("T", [spinning], ["a"]).notes == ("a row: a used 40% of a core while idle",)


def test_the_fastest_right_peer_is_what_counts():
    results = (
        result("tc", 1.0),
        result("eager", 2.0, 2.0),
        result("openvino", 1.5, 1.5),
        Result("inductor", "wrong", median=0.0),
    )
    measured = Measured("a row", results)
    assert ratio_to(measured, ["eager", "openvino", "inductor"]) == (1.5, "openvino")
    assert ratio_to(measured, ["inductor"]) == (None, "")
    assert ratio_to(Measured("a row", results[1:]), ["eager"]) == (None, "")


def test_a_goal_beyond_the_peak_has_a_second_line():
    row = ROWS[3]
    results = (result("tc", 1.0, share=0.99), result("openvino", 1.02, 1.02, share=0.97))
    measured = Measured(row.name, results, facts={"flops": 99e9})
    assert peak_seconds(measured.facts, MACHINE, 1) == pytest.approx(0.99)
    assert judge(row, measured).limit == pytest.approx(1 / 0.97)
    lines = shares([measured], MACHINE, 1).rows
    assert lines[0][:4] == (row.name, "99.00", "990.00", "99%")
    assert lines[1][0] == "  the bound of this machine allows 1.03×"
    slow = Measured(row.name, (results[0], replace(results[1], share=0.5)), measured.facts)
    assert len(shares([slow], MACHINE, 1).rows) == 1


def test_a_verdict_without_a_figure_says_why():
    measured = Measured(ROWS[0].name, refused="the cores are busy")
    found = judge(ROWS[0], measured)
    assert found.value is None
    assert found.text == "no figure: the cores are busy"


def test_what_precision_is_held_against_depends_on_the_cpu():
    able = frozenset(precision.FLAGS.values())
    assert precision.held_against("bf16", able) == ("openvino bf16", "inductor bf16")
    assert precision.held_against("int8", able) == ("openvino bf16",)
    assert precision.held_against("bf16", frozenset()) == ("tc",)
    assert precision.held_against("int8", frozenset()) == ("onnxruntime", "openvino")


def test_precision_over_the_peer():
    results = (result("tc", 4.0), result("tc int8", 1.0, 0.25), result("openvino bf16", 2.0, 0.5))
    found = precision.judge(Measured("a row", results), "int8", ("openvino bf16",))
    assert (found.value, found.against) == (2.0, "openvino bf16")
    slow = precision.judge(Measured("a row", results), "int8", ("openvino bf16",), dots=False)
    assert (slow.value, slow.goal.must) == (found.value, 1.1)
    missing = precision.judge(Measured("a row", results), "bf16", ("openvino bf16",))
    assert missing.text == "no figure: tc bf16 unavailable: took no part"


def test_cpu_flags(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags\t\t: fpu avx512_bf16\n")
    assert precision.cpu_flags(tmp_path / "cpuinfo") == {"fpu", "avx512_bf16"}
    assert precision.cpu_flags(tmp_path / "none") == frozenset()


def test_tokens_that_memory_allows():
    row = next(row for row in DECODERS if row.precision == "bf16")
    measured = Measured(row.name, facts={"decoder_weights": 1e8})
    assert most_tokens(row, measured, MACHINE, 2) == pytest.approx(50.0)
    assert most_tokens(row, Measured(row.name), MACHINE, 2) == 0.0


def test_generation_is_held_against_what_memory_allows():
    row = next(row for row in DECODERS if row.precision == "fp32")
    results = (result("tc", decode.NEW / 44), result("llama.cpp", decode.NEW / 40, 1.1))
    found = decode.judge(row, Measured(row.name, results), 46.0)
    assert found.limit == pytest.approx(46 / 40)
    assert found.text == "aim met"
    assert decode.judge(row, Measured(row.name, results), 0.0).limit is None
