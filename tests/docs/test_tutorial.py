"""The gemm tutorial: the page shows the loops that the steps give, and the steps make it fast."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tc.target import Target
from tests.warm import run_script

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples/tutorial_gemm.py"
PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
SIZE = (64, 256, 480)  # of which every target's tile is a divisor


@pytest.fixture(scope="module")
def tutorial() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial_gemm", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_script_says(tutorial: ModuleType) -> None:
    """Words, schedules and loops, for the page's machine; the speeds are measurements."""
    assert PAGE.startswith(tutorial.HEADER)
    assert PAGE.endswith(tutorial.FOOTER)
    size = (tutorial.M, tutorial.K, tutorial.N)
    every = tutorial.steps(*size, Target.parse("x86-64-v4"), threads=2)
    for number, step in enumerate(every):
        loops = str(step.schedule.func)
        said = tutorial.section(number, step, None, loops)
        head, code = said.split("```python\n")
        assert head in PAGE, step.title
        assert code in PAGE, step.title


def test_the_page_reaches_nine_tenths_of_the_peak() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| ")][1:]
    shares = [int(row[3].strip().rstrip("%")) for row in rows]
    assert len(shares) == 10
    assert shares[0] <= 1
    assert max(shares) > 90


@pytest.mark.slow
def test_the_steps_are_right_and_make_it_fast(tutorial: ModuleType) -> None:
    """An order of magnitude: no more can be said of a machine that does other things as well."""
    target = Target.parse("host")
    every = tutorial.steps(*SIZE, target, threads=1)
    speeds = tutorial.measure(every, target, *SIZE, seconds=0.1)  # checks the results too
    assert max(speeds) > 8 * speeds[0]


@pytest.mark.slow
def test_the_script_prints_a_table(tmp_path: Path) -> None:
    size = [str(n) for n in SIZE]
    printed = run_script(SCRIPT, "--size", *size, "--seconds", "0.01", "--loops", cwd=tmp_path)
    assert "| 0. The plain expression |" in printed
    assert "for i0 in range(" in printed
    assert printed.splitlines()[-1].startswith("peak: ")
