"""Verdicts, records and what is made of them: JSON, Markdown, pictures, the README, the command."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys

import pytest

from benchmarks import __main__ as command
from benchmarks import readme, record, report
from benchmarks.__main__ import PARTS, main
from benchmarks.load import LoadError
from benchmarks.part import Outcome, Part
from benchmarks.pictures import draw, model_times, shares_by_size
from benchmarks.record import load_records, report_text, store, verdict_table
from benchmarks.runner import Result
from benchmarks.verdict import GOALS, Verdict, geometric_mean, verdict

TABLE = report.Table("T", ("row", "ms"), (("a", "1.00"), ("long", "22.00")), ("a note",))
ROWS = [
    {"name": "BERT", "results": [Result("tc", "ok", ratio=1.0), Result("eager", "ok", ratio=2.0)]}
]
CELL = {"m": 8, "k": 1, "n": 1, "seconds": 2.0, "bound": 1.0}
PASSES = [{"row": {"kind": "fp32", "threads": 1}, "cells": [CELL, CELL]}]


def found(part: str = "models", busy: float = 0.0, **figures: object) -> record.Record:
    verdicts = (verdict("BERT", "models", 1.1, "openvino"), verdict("b", "models", math.nan))
    outcome = Outcome((TABLE,), verdicts, {"rows": ROWS, **figures}, busy=busy)
    return record.record(part, outcome, (0, 1))


# --- verdicts


@pytest.mark.parametrize(
    ("goal", "value", "text"),
    [
        ("models", 1.12, "aim met"),
        ("models", 1.05, "must met"),
        ("models", 0.84, "missed by 20%"),
        ("compile cold", 4.0, "aim met"),
        ("compile cold", 5.0, "must met"),
        ("compile cold", 9.0, "missed by 50%"),
        ("compile cold", 15.0, "missed, 2.5 times it"),
        ("models", None, "no figure: torch is not there"),
        ("models", math.inf, "no figure: torch is not there"),
    ],
)
def test_a_figure_meets_its_goal_or_says_how_far_it_is(goal, value, text):
    assert verdict("row", goal, value, reason="torch is not there").text == text


def test_figures_of_both_kinds_are_turned_so_that_more_is_better():
    assert verdict("row", "models", 2.1).relative == pytest.approx(2.0)
    assert verdict("row", "compile cold", 3.0).relative == pytest.approx(2.0)
    assert verdict("row", "models", None).relative is None


def test_a_goal_that_the_machine_rules_out_has_a_second_line():
    impossible = verdict("row", "models", 1.0, "openvino", limit=1.03)
    possible = verdict("row", "models", 1.0, "openvino", limit=1.3)
    assert impossible.beyond == "the bound of this machine allows 1.03×"
    assert possible.beyond == ""
    assert len(verdict_table([impossible, possible]).rows) == 3


def test_shares_of_the_bound_stand_for_a_goal_beyond_it():
    near = verdict("row", "decode fp32", 1.1, "llama.cpp", limit=1.18)  # must 1.2, aim 1.5
    assert near.wanted.must == pytest.approx(0.85 * 1.18)
    assert near.wanted.aim == pytest.approx(0.92 * 1.18)
    assert near.text == "aim met"
    between = verdict("row", "decode fp32", 1.25, "llama.cpp", limit=1.4)
    assert (between.wanted.must, between.wanted.aim) == (1.2, pytest.approx(0.92 * 1.4))
    assert between.text == "must met"
    assert verdict("row", "decode fp32", 1.6, limit=9.0).text == "aim met"
    assert verdict("row", "compile cold", 5.0, limit=1.0).text == "must met"


def test_an_aim_is_never_less_than_what_must_be():
    for goal in GOALS.values():
        assert goal.aim <= goal.must if goal.lower else goal.aim >= goal.must


def test_geometric_mean():
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert math.isnan(geometric_mean([]))


# --- tables


def test_plain_table_is_aligned():
    assert report.plain(TABLE) == "T\nrow      ms\n-----------\na      1.00\nlong  22.00\na note"


def test_markdown():
    assert "| a | 1.00 |\n| long | 22.00 |\n\na note" in report.markdown(TABLE)


def test_without_a_terminal_a_table_is_plain_text(capsys):
    report.show(TABLE)
    assert capsys.readouterr().out == report.plain(TABLE) + "\n"


def test_on_a_narrow_terminal_nothing_is_cut_off(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    why = "the cores are busy with other work: timings would mean nothing"
    rows = [verdict(f"128x768x{n}", "product", n, "the bound") for n in (91.25, math.nan)]
    report.show(verdict_table([*rows, verdict("7x513x1001", "product", None, reason=why)]))
    shown = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 50
    assert "91.2%" in shown


def test_figures_are_aligned_on_their_right_and_reasons_stand_below():
    why = "the cores are busy"
    held = verdict_table([verdict("a", "models", 1.3, "eager"),
                          *(verdict(row, "models", None, reason=why) for row in "bc")])  # fmt: skip
    assert report.plain(held).splitlines() == [
        "Goals",
        "row  figure  of          must   aim  state",
        "-" * 46,
        "a      1.3×  over eager  1.05  1.12  aim met",
        "b         -              1.05  1.12  no figure",
        "c         -              1.05  1.12  no figure",
        "no figure of b, c: the cores are busy",
    ]
    assert "|---|---:|---|---:|---:|---|" in report.markdown(held)


def test_the_command_to_repeat_it_names_no_place_of_this_machine():
    given = ["sweep", "--rows", "fp32, 1", "--out", "somewhere", "--quick"]
    assert report.command(given) == "python -m benchmarks sweep --rows 'fp32, 1' --quick"
    assert report.command([]) == "python -m benchmarks"


# --- records


def test_a_record_comes_back_from_its_file(tmp_path):
    made = found()
    store(made, tmp_path / "new")
    held = json.loads((tmp_path / "new" / "models.json").read_text())
    assert {"date", "cpu", "versions", "command", "cores"} <= held.keys()
    assert held["figures"]["rows"][0]["results"][0]["error"] is None  # NaN
    assert load_records(tmp_path / "new", tuple(PARTS)) == [made]


def test_a_file_that_is_no_record_is_named(tmp_path):
    for text in ("no JSON", "[]", '{"part": "models"}'):
        (tmp_path / "models.json").write_text(text)
        with pytest.raises(ValueError, match=r"models.json: not a record of this version"):
            load_records(tmp_path, tuple(PARTS))


def test_the_report_is_made_of_the_files_alone(tmp_path):
    for part in ("sweep", "models"):
        store(found(part), tmp_path)
    records = load_records(tmp_path, tuple(PARTS))
    assert [r.part for r in records] == ["models", "sweep"]
    text = report_text(records)
    assert text.startswith("### Goals")
    assert "| BERT | 1.1× | over openvino | 1.05 | 1.12 | must met |" in text
    assert text.count("a note") == 2


def test_verdicts_come_back_from_json():
    for each in found().verdicts:
        assert Verdict.from_json(json.loads(json.dumps(each.to_json()))) == each


# --- pictures


def test_pictures_are_drawn_for_what_there_is(tmp_path):
    pytest.importorskip("matplotlib", reason="an extra: pip install 'tensorc[bench]'")
    records = [found(), found("sweep", passes=PASSES)]
    assert [path.name for path in draw(records, tmp_path)] == [
        "goals.png",
        "models.png",
        "sweep.png",
    ]
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG\r\n")
    empty = record.record("compile", Outcome((), (), {}), (0,))
    assert draw([empty], tmp_path) == []


def test_what_is_drawn():
    assert model_times(found()) == {"BERT": {"tc": 1.0, "eager": 2.0}}
    assert shares_by_size(found("sweep", passes=PASSES)) == {"fp32, 1 thread": {8: 0.5}}


def test_without_matplotlib_there_are_no_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.pictures.find_spec", lambda _: None)
    assert draw([found()], tmp_path) == []


# --- the README


def test_the_readmes_figures_are_renewed_between_the_markers(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / readme.PICTURE).write_bytes(b"a picture")
    readme.renew(page, folder, [found(), found("sweep", passes=PASSES)])
    text = page.read_text()
    assert text.startswith(f"before\n{readme.BEGIN}\n")
    assert text.endswith(f"{readme.END}\nafter\n")
    assert "old" not in text
    assert "| long | 22.00 |" in text
    assert "![Times of whole models over tc's](docs/measured.png)" in text
    assert (tmp_path / "docs/measured.png").read_bytes() == b"a picture"
    assert found().about["cpu"] in text
    assert "Of 4 goals 2 are met" in text
    assert text.count(found().about["date"][:10]) == 1  # one machine, one day
    readme.renew(page, folder, [found(), found("sweep", passes=PASSES)])
    assert page.read_text().count(readme.BEGIN) == 1


@pytest.mark.parametrize("text", ["nothing", readme.END + readme.BEGIN, readme.BEGIN])
def test_a_readme_without_the_markers_is_left_alone(tmp_path, text):
    page = tmp_path / "README.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="README.md: no <!-- measured: begin"):
        readme.renew(page, tmp_path, [found()])
    assert page.read_text() == text


def test_figures_of_a_busy_machine_are_marked_and_not_quoted(tmp_path):
    disturbed = found(busy=0.4)
    said = "UNRELIABLE: the cores were up to 40% busy with other work (--force)."
    assert report_text([disturbed]).count(said) == 2  # with the goals, and with the part
    page = tmp_path / "README.md"
    page.write_text(readme.BEGIN + readme.END)
    with pytest.raises(ValueError, match=r"models.json: UNRELIABLE.*Measure it again"):
        readme.renew(page, tmp_path, [disturbed])
    assert page.read_text() == readme.BEGIN + readme.END


def test_no_figures_are_no_renewal(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(readme.BEGIN + readme.END)
    with pytest.raises(ValueError, match="holds no figures"):
        readme.renew(page, tmp_path, [])


# --- the command


def part(run) -> Part:
    return Part("a part", lambda: ["one"], ("tc",), run)


def test_list_names_parts_rows_and_contenders(capsys):
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    for name in PARTS:
        assert f"\n{name}: " in f"\n{shown}"
    assert "BERT-base b1 s128" in shown
    assert "llama.cpp" in shown


def test_parts_are_run_shown_and_kept(capsys, monkeypatch, tmp_path):
    outcome = Outcome((TABLE,), (verdict("BERT", "models", 1.1),), {"rows": []})
    monkeypatch.setattr(command, "PARTS", {"models": part(lambda options: outcome)})
    assert main(["models", "--out", str(tmp_path), "--cores", "1"]) == 0
    assert "must met" in capsys.readouterr().out
    assert json.loads((tmp_path / "models.json").read_text())["part"] == "models"
    assert "must met" in (tmp_path / "report.md").read_text()


def test_a_part_that_is_refused_or_failed_is_status_1(capsys, monkeypatch):
    def refuse(options):
        del options
        raise LoadError("cores 0 are 90% busy")

    failed = Outcome((TABLE,), (), {}, failed=True)
    parts = {"a": part(refuse), "b": part(lambda options: failed)}
    monkeypatch.setattr(command, "PARTS", parts)
    assert main(["a"]) == 1
    assert capsys.readouterr().err == "error: a: cores 0 are 90% busy\n"
    assert main(["b"]) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tea"], "unknown part 'tea'; parts: models, precision"),
        (["--readme", "README.md"], "--readme takes the figures from the folder"),
    ],
)
def test_wrong_usage_is_one_line(capsys, arguments, said):
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err


def test_the_command_renews_a_readme(capsys, tmp_path):
    page, folder = tmp_path / "README.md", tmp_path / "out"
    page.write_text("no markers")
    store(found(), folder)
    assert main(["--readme", str(page), "--out", str(folder)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {page}: no <!-- measured")
    page.write_text(readme.BEGIN + readme.END)
    assert main(["--readme", str(page), "--out", str(folder)]) == 0
    assert "| long | 22.00 |" in page.read_text()


def test_an_unknown_contender_is_a_one_line_error(capsys):
    assert main(["models", "--peers", "ELIZA", "--force"]) == 1
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith("error: models: no contender is called ELIZA; contenders: tc, eager")


def test_an_unknown_row_is_a_one_line_error(capsys):
    assert main(["models", "--rows", "ELIZA", "--force"]) == 1
    assert capsys.readouterr().err.startswith("error: models: no row matches ELIZA")


@pytest.mark.parametrize("part", ["gemm", "models"])
def test_a_part_is_a_program_too(part):
    command = [sys.executable, "-m", f"benchmarks.{part}", "--rows", "ELIZA"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {part}: no row matches ELIZA; rows: ")
