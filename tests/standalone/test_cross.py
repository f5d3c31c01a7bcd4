"""Models compiled for another kind of machine: exported, emulated, saved; never called here."""

from __future__ import annotations

import platform
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tc
from tc.codegen.c.compilers import machine_flags
from tc.device.artifact_file import Reader
from tc.errors import UnsupportedError
from tests.standalone.exported import Words, compiled_words, need, syntax_check, words_inputs

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="ARM is another machine for x86 alone"
)


@pytest.fixture(scope="module")
def arm() -> Any:
    return compiled_words("arm-neon")


def test_a_call_says_that_this_is_another_machine(arm: Any) -> None:
    with pytest.raises(UnsupportedError, match="program for arm-neon: this machine cannot run it"):
        arm(**words_inputs())


def test_emulated_it_computes_what_eager_computes(arm: Any) -> None:
    need("make", "aarch64-linux-gnu-gcc", "qemu-aarch64")
    inputs = words_inputs()
    with torch.no_grad():
        wanted = Words()(**inputs)
    found = arm.run_emulated(**inputs)
    np.testing.assert_allclose(found.output.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_its_source_has_neon(arm: Any) -> None:
    text = str(arm.c_source)
    assert "#include <arm_neon.h>" in text and "float32x4_t" in text
    assert "model_code model_run(" in text


def test_the_page_shows_what_is_written() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "standalone.md"
    shown = re.findall(r"^```c\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    parts = OrderedDict(dense=torch.nn.Linear(256, 16), activation=torch.nn.ReLU())
    model, x = torch.nn.Sequential(parts).eval(), torch.ones(2, 256)
    made: Any = tc.compile(model, target="arm-neon", dynamic=False, example_inputs=(x,))
    assert all(text in made.c_source for text in shown[:2])


@pytest.mark.parametrize(("missing", "package"), [("qemu-aarch64", "qemu-user"), ("make", "make")])
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str, package: str
) -> None:
    for tool in ("qemu-aarch64", "make", "aarch64-linux-gnu-gcc"):
        if tool != missing:
            (tmp_path / tool).write_text("#!/bin/sh\nexit 1\n")
            (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    fresh = compiled_words("arm-neon")
    with pytest.raises(UnsupportedError, match=f"no {missing}.*install {package}"):
        fresh.run_emulated(**words_inputs())


def test_weights_do_not_depend_on_where_they_are_packed(arm: Any, tmp_path: Path) -> None:
    first = arm.export_c(tmp_path / "a")
    second = compiled_words("arm-neon").export_c(tmp_path / "b")
    for name in ("weights.bin", "model.c", "kernels.h"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


class Unknown(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.det(x)


def test_an_operator_that_is_not_compiled_is_named(tmp_path: Path) -> None:
    made = tc.compile(Unknown().eval(), example_inputs=(torch.ones(2, 3, 3),))
    with pytest.raises(UnsupportedError, match="operator aten.*det"):
        made.export_c(tmp_path)


class Short(torch.nn.Module):
    """Refuses long inputs; with `tall` it takes another way for many more rows than columns."""

    def __init__(self, tall: bool) -> None:
        super().__init__()
        self.tall = tall

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] > 9:
            raise ValueError("too long")
        return x * 3 if self.tall and x.shape[0] > x.shape[1] + 3 else x * 2


def test_a_model_that_refuses_long_inputs_is_exported_for_short_ones(tmp_path: Path) -> None:
    example = (torch.ones(2, 3),)
    made: Any = tc.compile(Short(tall=False).eval(), example_inputs=example)
    made.export_c(tmp_path)
    assert "at most 9 */" in (tmp_path / "model.h").read_text()
    made = tc.compile(Short(tall=True).eval(), example_inputs=example)
    with pytest.raises(UnsupportedError, match="by the sizes of x; .*choose max_batch and max_len"):
        made.export_c(tmp_path)
    made.export_c(tmp_path, max_batch=3)  # never that many more


def test_saved_it_is_loaded_and_compiled_for_this_machine(arm: Any, tmp_path: Path) -> None:
    arm.save(tmp_path / "words.tc")
    inputs = words_inputs()
    with torch.no_grad():
        wanted = Words()(**inputs)
    found = tc.load(tmp_path / "words.tc")(**inputs)
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_code_is_made_when_it_is_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TC_CACHE_DIR", str(tmp_path / "cache"))
    with monkeypatch.context() as patch:
        patch.setattr("tc.codegen.llvm.emit.emit_kernel", None)  # which would be called
        fresh = compiled_words("arm-neon")
    fresh.save(tmp_path / "words.tc")
    reader = Reader(tmp_path / "words.tc")
    assert reader.manifest["programs"] == [{"entries": 1}]
    code = reader.member("program-0-0.o")
    elf = code.index(b"\x7fELF")
    assert code[elf + 18] == 183  # EM_AARCH64


class Hostile(torch.nn.Module):
    """Parameters, modules and inputs whose names are C when nobody looks."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("*/ int main(void) { return 1; } /*", '"', "a\nb", "for", "é" * 300):
            self.add_module(name, torch.nn.Linear(4, 4))

    def forward(self, **given: torch.Tensor) -> torch.Tensor:
        out = sum(given.values())
        for part in self.children():
            out = torch.relu(part(out))
        return out


def test_names_cannot_become_code(tmp_path: Path) -> None:
    need("gcc")
    given = {'"*/x': torch.ones(2, 4), "int": torch.ones(2, 4)}
    made = tc.compile(Hostile().eval(), example_inputs=given)
    exported = made.export_c(tmp_path)
    flags = list(machine_flags(exported.target))
    assert syntax_check("gcc", exported.folder, flags) == ""
    source = (tmp_path / "model.c").read_text(encoding="ascii")
    assert "return 1" not in source and "int main" not in source
