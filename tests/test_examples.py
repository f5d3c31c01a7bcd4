"""The examples run each in a process of its own, as a user runs them, and say what they should."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.warm import run_script

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


def run(name: str, *arguments: str, cwd: Path) -> str:
    return run_script(ROOT / "examples" / name, *arguments, cwd=cwd)


def test_embeddings(tmp_path: Path) -> None:
    shown = run("embeddings.py", "when does the train go?", cwd=tmp_path)
    assert shown.splitlines()[0].endswith("The train to the coast leaves at noon.")
    assert "compilations: 1" in shown


def test_classification(tmp_path: Path) -> None:
    shown = run("classification.py", "Boil the potatoes in salted water.", cwd=tmp_path)
    assert "9 of 9 examples right" in shown
    chances = {line.split()[1]: float(line.split()[0]) for line in shown.splitlines()[1:]}
    assert max(chances, key=chances.__getitem__) == "cooking"


def test_generation(tmp_path: Path) -> None:
    assert "same tokens: True" in run("generation.py", cwd=tmp_path)


def test_own_operator(tmp_path: Path) -> None:
    lines = run("own_operator.py", cwd=tmp_path).splitlines()
    assert len(lines) == 3
    assert all(float(line.split()[-1]) < 1e-5 for line in lines)


def test_queue(tmp_path: Path) -> None:
    assert "reopened: 4" in run("device_queue.py", cwd=tmp_path)


DEMO = """\
import importlib.util
import sys

import torch

spec = importlib.util.spec_from_file_location("demo", sys.argv[1])
demo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(demo)


class Absent:
    def ready(self):
        return "left out here"


demo.Inductor, demo.ROUNDS = Absent, 3
sys.exit(demo.main())
"""


def test_demo_but_for_inductor_which_takes_most_of_its_time(tmp_path: Path) -> None:
    script = tmp_path / "run_demo.py"
    script.write_text(DEMO, encoding="utf-8")
    shown = run_script(script, str(ROOT / "examples" / "demo.py"), cwd=tmp_path)
    assert re.search(r"Greatest difference from PyTorch eager: \S+e-\d\d, within 1e-5", shown)
    assert "Similarity of the sentences" in shown
    assert re.search(r"1 x 128 *[│|].*x", shown)
    assert "Inductor could not be measured here: left out here" in shown
    assert "attention" in shown  # the table of kernels
    assert "make bench" in shown


def test_every_example_is_run() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    elsewhere = {"tutorial_gemm.py"}  # by tests/docs
    for example in (ROOT / "examples").glob("*.py"):
        assert example.name in elsewhere or f'"{example.name}"' in source
