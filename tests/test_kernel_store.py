"""Kernels on disk: what was scheduled and emitted once is only read afterwards."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tc import kernel_store
from tc.codegen.llvm.emit import KernelText
from tc.frontend.capture import capture
from tc.frontend.captured import Captured
from tc.frontend.importer import import_graph
from tc.graph.graph import Graph
from tc.kernel_store import KernelStore
from tc.pipeline import Chosen, Compiled, Workload, analytical, assemble, compile_graph
from tc.schedule.step import Schedule
from tc.target import Target

HOST = Target.parse("host")


@dataclass(frozen=True)
class Settings:
    cache_dir: Path | None
    target: Target = HOST
    precision: str = "fp32"
    dump_ir: Path | None = None
    debug: int = 0
    codegen: str = "llvm"


@cache
def captured() -> Captured:
    """Rows of a table, a product and a norm: kernels that check, that read packed weights."""
    parts = nn.Embedding(11, 16), nn.Linear(16, 24), nn.GELU(), nn.LayerNorm(24)
    return capture(nn.Sequential(*parts).eval(), (torch.zeros(2, 3, dtype=torch.int64),), {})


def graph() -> Graph:
    return import_graph(captured()).graph


def compiled(folder: Path) -> Compiled:
    return compile_graph(graph(), Settings(folder))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Compiled, Path]:
    """A program and the cache folder that it was compiled into. Not to be changed."""
    folder = tmp_path_factory.mktemp("first")
    return compiled(folder), folder


@pytest.fixture
def cold(first: tuple[Compiled, Path], tmp_path: Path) -> Compiled:
    """That program, its entries in the test's own folder."""
    shutil.copytree(first[1], tmp_path, dirs_exist_ok=True)
    return first[0]


def entries(folder: Path) -> list[Path]:
    return sorted((folder / "kernels").iterdir())


def test_a_program_from_the_store_is_the_same(cold: Compiled, tmp_path: Path) -> None:
    warm = compiled(tmp_path)
    assert warm.artifact == cold.artifact
    assert (cold.cache_hits, warm.cache_hits) == (0, len(cold.artifact.kernels) + 2)


@pytest.mark.usefixtures("cold")
def test_a_stored_kernel_is_not_scheduled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def refuse(*_: Any) -> None:
        raise AssertionError("scheduled again")

    monkeypatch.setattr("tc.pipeline.default_schedule", refuse)
    compiled(tmp_path)
    monkeypatch.setattr(kernel_store, "sources", lambda: "other sources")
    with pytest.raises(AssertionError, match="scheduled again"):
        compiled(tmp_path)


@pytest.mark.usefixtures("cold")
def test_a_kernel_keeps_its_name_and_messages(tmp_path: Path) -> None:
    store = KernelStore(tmp_path, HOST)
    found = assemble(graph(), HOST, store=store)
    assert found.new == {}
    for info, code in zip(found.artifact.kernels, found.code, strict=True):
        assert info.text.startswith(f"def {info.name}(")
        assert isinstance(code, KernelText)
    said = [m for code in found.code if isinstance(code, KernelText) for m in code.messages]
    assert any("index" in m for m in said)  # the lookups are checked


def test_without_code_descriptions_are_kept(tmp_path: Path) -> None:
    settings = Settings(tmp_path, codegen="none")
    made = compile_graph(graph(), settings)
    assert made.artifact.code == () and not (tmp_path / "kernels").exists()
    assert not assemble(graph(), HOST, store=KernelStore(tmp_path, HOST, code=False)).new
    assert compile_graph(graph(), settings).artifact == made.artifact


def test_damaged_entries_are_made_anew(cold: Compiled, tmp_path: Path) -> None:
    for file in entries(tmp_path):
        data = bytearray(file.read_bytes())
        data[-5] ^= 1
        file.write_bytes(bytes(data))
    assert compiled(tmp_path).artifact == cold.artifact
    assert not assemble(graph(), HOST, store=KernelStore(tmp_path, HOST)).new


def test_entries_without_what_is_needed_are_made_anew(tmp_path: Path) -> None:
    store = KernelStore(tmp_path, HOST)
    key = store.key("def kernel():", (), "default")
    store._cache.put(key, b'{"llvm": "", "messages": []}')
    assert store.get(key) is None
    store._cache.put(key, b"{")
    assert store.get(key) is None


def test_what_a_kernel_depends_on_tells_entries_apart(tmp_path: Path) -> None:
    store = KernelStore(tmp_path, HOST)
    other = KernelStore(tmp_path, replace(HOST, l2_bytes=HOST.l2_bytes * 2))
    keys = [
        store.key("a", (True,), "default"),
        store.key("b", (True,), "default"),
        store.key("a", (False,), "default"),
        store.key("a", (True,), "vectorize(i, 16)"),
        other.key("a", (True,), "default"),
    ]
    assert len(set(keys)) == len(keys)


def test_a_caller_s_schedules_have_entries_of_their_own(tmp_path: Path) -> None:
    def parallel_copies(workload: Workload) -> Chosen | None:
        name = workload.lowered.func.outputs[0]
        return Chosen(Schedule()) if name == "out0" else None

    first = compile_graph(graph(), Settings(tmp_path), parallel_copies)
    count = len(entries(tmp_path))
    second = compile_graph(graph(), Settings(tmp_path), analytical)
    assert first.artifact != second.artifact
    assert len(entries(tmp_path)) > count
