"""Kernels through LLVM's back end behind the C interface, and what is shown of them."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tc
from tc.errors import UnsupportedError
from tc.standalone.running import Exported
from tc.target import Target
from tests.standalone.exported import Words, compiled_words, need, words_inputs


@pytest.fixture(scope="module", params=["host", "arm-neon cpu=cortex-a72"])
def made(request: pytest.FixtureRequest) -> tuple[Any, str]:
    return compiled_words(request.param), request.param


@pytest.fixture(scope="module")
def arm() -> Any:
    return compiled_words("arm-neon cpu=cortex-a72")


def test_a_folder_with_kernels_of_llvm_computes_what_eager_computes(
    made: tuple[Any, str], tmp_path: Path
) -> None:
    model, target = made
    need("make", *(("aarch64-linux-gnu-gcc", "qemu-aarch64") if "arm" in target else ("cc",)))
    baked = "none" if "arm" in target else "all"  # where kernels read what C has aligned
    assert model.export_object(tmp_path, bake=baked) == tmp_path
    assert not list(tmp_path.glob("kernels*.c"))
    exported = Exported(tmp_path, Target.parse(target), 0, 0, ("output",))
    exported.build(flags="-O0 -Werror")
    inputs = words_inputs()
    with torch.no_grad():
        wanted = Words()(**inputs)
    found = exported.run({name: tensor.numpy() for name, tensor in inputs.items()})
    np.testing.assert_allclose(found["output"], wanted.numpy(), rtol=1e-5, atol=1e-6)
    subprocess.run(["make", "-C", str(tmp_path), "clean"], check=True, capture_output=True)
    assert (tmp_path / "kernels.o").exists()


def test_weights_far_apart_are_read_where_they_lie(tmp_path: Path) -> None:
    need("make", "aarch64-linux-gnu-gcc", "qemu-aarch64")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, x = torch.nn.Linear(3072, 24).eval(), torch.randn(1, 3072)
    made: Any = tc.compile(module, target="arm-neon", example_inputs=(x,))
    assert ", i64 9216\n" in str(made.llvm_ir)  # a quarter of the weights of 12 columns
    made.export_object(tmp_path)
    exported = Exported(tmp_path, Target.parse("arm-neon"), 0, 0, ("output",))
    exported.build(flags="-O1")
    (found,) = exported.run({"input": x.numpy()}).values()
    np.testing.assert_allclose(found, module(x).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_a_shared_library_has_the_whole_interface(tmp_path: Path) -> None:
    need("make", "cc")
    path = compiled_words().export_object(tmp_path / "liblexicon.so", name="lexicon")
    beside = ["lexicon.h", "lexicon_weights.bin"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [*beside, "liblexicon.so"]
    library = ctypes.CDLL(str(path))
    library.lexicon_create.restype = ctypes.c_void_p
    library.lexicon_free.argtypes = [ctypes.c_void_p]
    handle = library.lexicon_create(str(tmp_path / "lexicon_weights.bin").encode(), None, None)
    assert handle is not None
    library.lexicon_free(handle)


def test_one_object_file_links_with_a_program_of_c(arm: Any, tmp_path: Path) -> None:
    need("make", "aarch64-linux-gnu-gcc", "qemu-aarch64")
    arm.export_object(tmp_path / "words.o")
    program = tmp_path / "main.c"
    program.write_text(
        '#include "model.h"\n#include <stdio.h>\n'
        "int main(int count, char **words)\n{\n"
        "    model_error error;\n"
        "    model *m = model_create(words[count - 1], NULL, &error);\n"
        "    if (m == NULL) return error.code;\n"
        '    puts("made");\n    model_free(m);\n    return 0;\n}\n'
    )
    files = [str(program), str(tmp_path / "words.o")]
    words = ["aarch64-linux-gnu-gcc", "-std=c99", "-Wall", "-Werror", "-static", *files]
    subprocess.run([*words, "-lm", "-o", str(tmp_path / "main")], check=True)
    run = ["qemu-aarch64", str(tmp_path / "main"), str(tmp_path / "weights.bin")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "made\n")


def test_a_missing_linker_is_named_and_a_folder_needs_none(
    arm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("make")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "make").write_text("#!/bin/sh\nexit 1\n")
    (tools / "make").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(UnsupportedError, match="install gcc-aarch64-linux-gnu"):
        arm.export_object(tmp_path / "x.so")
    assert [p.name for p in tmp_path.iterdir()] == ["tools"]
    arm.export_object(tmp_path / "x")
    assert (tmp_path / "x" / "kernels.o").read_bytes()[:4] == b"\x7fELF"


def test_texts_of_llvm(arm: Any) -> None:
    assert "define void @kernel_linear_linear_tanh(" in str(arm.llvm_ir)
    assert "fmla" in str(arm.asm)
    assert "kernel_table_embedding:" in arm.asm[:1000]  # parts of such a text are texts


def test_what_runs_elsewhere_is_explained_by_looking(arm: Any) -> None:
    need("llvm-mca")
    found = arm.explain()
    assert found.model.startswith("llvm-mca ")
    (section,) = found.sections
    tiles = [loop for row in section.rows for loop in row.loops if loop.counts.fmas]
    best = max(tiles, key=lambda loop: loop.counts.fmas)
    assert best.counts.spills == 0
    assert best.timing.peak > 0.9
    shown = str(found)
    assert "Words(input_ids, x): 2 kernels" in shown and "FMA peak" in shown
    plain = found.as_dict()
    assert plain["sections"][0]["rows"][1]["loops"][0]["timing"]["cycles"] > 0


def test_without_a_model_there_are_counts(
    arm: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = arm.explain()
    assert found.model == "" and "install llvm" in str(found)
    loops = [loop for row in found.sections[0].rows for loop in row.loops]
    assert any(loop.counts.fmas for loop in loops)
    assert all(loop.timing is None for loop in loops)


def test_what_runs_here_is_explained_by_looking_where_that_is_asked() -> None:
    if Target.parse("host").arch not in ("x86_64", "aarch64"):
        pytest.skip("only the assembly of x86-64 and ARM is read")
    rows = compiled_words().explain(static=True).sections[0].rows
    assert [row.calls for row in rows] == [1, 1]
    assert all(row.loops for row in rows)
