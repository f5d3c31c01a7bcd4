"""The README keeps its word: its Python runs, its make targets and its links exist."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tc.cli.group import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_make_target_that_it_names_exists() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    defined = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "bench"} <= named
    assert named - defined == set()


def test_its_links_lead_to_files_and_to_every_page() -> None:
    links = set(re.findall(r"\]\(([^)#:]+)\)", README))
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= links


def test_it_names_every_command() -> None:
    (said,) = re.findall(r"^- The command [^:]*: (.*)\.$", README, re.MULTILINE)
    assert set(said.split(", ")) == set(COMMANDS)


@pytest.mark.slow
def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "model.tc").exists()
    assert names["out"].last_hidden_state.shape == (2, 4, 384)
    a, b = (np.random.default_rng(0).random(s, np.float32) for s in ((13, 768), (768, 3072)))
    np.testing.assert_allclose(names["f"](a, b), a @ b, rtol=1e-5)
