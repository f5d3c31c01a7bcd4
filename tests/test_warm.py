"""Scripts that are forked from a warm process run as those that are started do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.warm import run_script

SHOW = """
import os, sys
print(__name__, sys.argv[1:], os.getcwd() == os.path.dirname(__file__), "tc" in sys.modules)
print(os.path.dirname(__file__) in sys.path, sys.stdin.read() == "", os.environ["TC_CACHE_DIR"])
"""


@pytest.mark.parametrize("first", ["import torch", ""], ids=["forked", "started"])
def test_a_script_finds_what_a_new_process_has(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TC_CACHE_DIR", "elsewhere")
    script = tmp_path / "script.py"
    script.write_text(first + SHOW)
    shown = run_script(script, "a", "b", cwd=tmp_path).splitlines()
    assert shown == ["__main__ ['a', 'b'] True False", "True True elsewhere"]


@pytest.mark.parametrize("first", ["import torch", ""], ids=["forked", "started"])
@pytest.mark.parametrize("last", ["raise ValueError('no good')", "import sys; sys.exit('no good')"])
def test_a_script_that_ends_badly_is_noticed(first: str, last: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"{first}\n{last}\n")
    with pytest.raises(AssertionError, match="no good"):
        run_script(script, cwd=tmp_path)
