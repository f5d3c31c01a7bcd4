"""The pages of docs/: their Python runs, what they show is what is printed, their links lead on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.warm import run_script

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
RUN = [  # devices.md has tests of its own; the gemm tutorial is a program, see test_tutorial.py
    "architecture.md",
    "add_operator.md",
    "add_pass.md",
    "add_primitive.md",
    "add_target.md",
    "attention.md",
    "caching.md",
    "generation.md",
    "precision.md",
    "saving.md",
    "tuning.md",
    "tutorial_operator.md",
]
# The text blocks that are, word for word, in what the page's Python prints.
SHOWN = {"architecture.md": [1], "add_primitive.md": [0], "tutorial_operator.md": [0]}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", RUN)
def test_the_python_of_a_page_runs_and_prints_what_it_shows(page: str, tmp_path: Path) -> None:
    """In a process of its own, for the pages add rows to tables."""
    code = blocks(page, "python")
    assert code
    script = tmp_path / page.replace(".md", ".py")
    script.write_text("\n".join(code), encoding="utf-8")
    printed = run_script(script, cwd=tmp_path)
    for number in SHOWN.get(page, ()):
        assert blocks(page, "text")[number] in printed


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_paths_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:tc|tests|examples|docs)/[\w/.]+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_page_is_reached_from_the_first() -> None:
    first = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert {p.name for p in PAGES} - {"architecture.md"} <= set(
        re.findall(r"\]\((\w+\.md)\)", first)
    )
