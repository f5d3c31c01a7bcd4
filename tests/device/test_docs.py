"""The examples about devices run as they are printed."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs/devices.md").read_text(encoding="utf-8"), re.DOTALL
)


def test_there_are_examples():
    assert len(SNIPPETS) == 2


@pytest.mark.parametrize("code", SNIPPETS)
def test_the_examples_of_the_page_run(code):
    exec(compile(code, "docs/devices.md", "exec"), {"__name__": "example"})


def test_the_queue_example_runs(capsys):
    runpy.run_path(str(ROOT / "examples/device_queue.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert "bad: ValueError; good: 12" in shown
    assert "powers: [1, 2, 4, 8, 16]" in shown
    assert "lost: cpu:0#" in shown
    assert "reopened: 4" in shown
