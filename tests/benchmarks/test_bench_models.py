"""Rows of whole models: selection, refusal, notes and the tables made of them."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import report
from benchmarks.models import ROWS, Bench, Measured, Row, details, main, overview, select_rows
from benchmarks.runner import Result, Settings
from benchmarks.zoo import MODELS, case_inputs

ROW = Row("MiniLM-L6", 1, 16)
FACTORIES = {name: f"tests.benchmarks.fakes:{name}" for name in ("doubles", "sleeps", "missing")}


def bench(busy: float, force: bool) -> Bench:
    return Bench(
        ["doubles", "sleeps", "missing"],
        (0,),
        Settings(rounds=2, block_seconds=0.001),
        force,
        FACTORIES,
        FACTORIES["doubles"],
        lambda _: busy,
    )


@pytest.fixture(autouse=True)
def _fake_case(monkeypatch):
    monkeypatch.setattr(Row, "case", {"x": 3})


def test_rows_name_models_that_exist():
    assert {row.model for row in ROWS} == set(MODELS)
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_selection_by_part_of_a_name():
    assert [row.name for row in select_rows(["bert-base b1 s37"])] == ["BERT-base b1 s37"]
    assert select_rows([]) == ROWS
    with pytest.raises(ValueError, match="no row matches"):
        select_rows(["ELIZA"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_inputs_have_the_rows_shape_and_are_reproducible(row):
    case = {"model": row.model, "batch": row.batch, "length": row.length}
    given, again = case_inputs(case), case_inputs(case)
    for name, array in given.items():
        assert array.shape[0] == row.batch
        assert array.shape[-1] == row.length
        assert (array == again[name]).all()


def test_a_row_is_checked_then_timed_and_tabulated():
    measured = bench(busy=0.0, force=False).measure(ROW)
    assert [result.state for result in measured.results] == ["ok", "wrong", "unavailable"]
    table = overview([measured], ["doubles", "sleeps", "missing"])
    assert table.rows[0][0] == "MiniLM-L6 b1 s16"
    assert table.rows[0][1].endswith("1.00×")
    assert table.rows[0][2:] == ("wrong", "unavailable")
    assert any("no framework" in note for note in table.notes)
    assert [row[1] for row in details([measured]).rows] == ["doubles"]


def test_busy_cores_refuse_a_row_or_mark_it():
    refused = bench(busy=0.5, force=False).measure(ROW)
    assert refused.results == ()
    assert "50% busy" in refused.refused
    forced = bench(busy=0.5, force=True).measure(ROW)
    table = overview([forced], ["doubles", "sleeps", "missing"])
    assert "MiniLM-L6 b1 s16: UNRELIABLE, the cores were 50% busy (--force)" in table.notes


def test_spinning_while_idle_is_noted():
    spinning = Measured(ROW, (Result("a", "ok", median=1e-3, ratio=1.0, idle_share=0.4),))
    assert overview([spinning], ["a"]).notes == (
        "MiniLM-L6 b1 s16: a used 40% of a core while idle",
    )


def test_unknown_row_is_a_one_line_error(capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.load.watch_cores", lambda *_: 0.0)
    assert main(["ELIZA", "--force"]) == 1
    assert capsys.readouterr().err.startswith("error: no row matches")


TABLE = report.Table("T", ("row", "ms"), (("a", "1.00"), ("long", "22.00")), ("a note",))


def test_plain_table_is_aligned():
    assert report.plain(TABLE) == "T\nrow      ms\n-----------\na      1.00\nlong  22.00\na note"


def test_markdown():
    assert "| a | 1.00 |\n| long | 22.00 |\n\na note" in report.markdown(TABLE)


def test_shown_without_rich(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    report.show(TABLE)
    assert report.plain(TABLE) in capsys.readouterr().out


def test_files_hold_figures_and_how_to_repeat_them(tmp_path):
    json_path, markdown_path = tmp_path / "f.json", tmp_path / "f.md"
    figures = {"models": [Measured(ROW, (Result("a", "wrong"),))]}
    report.write([TABLE], figures, (0, 1), json_path, markdown_path)
    held = json.loads(json_path.read_text())
    assert held["models"][0]["results"][0]["error"] is None
    assert held["cores"] == [0, 1]
    assert {"date", "cpu", "versions", "command"} <= held.keys()
    assert held["cpu"] in markdown_path.read_text()
