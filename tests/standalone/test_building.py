"""Exported folders built in other ways than with make and gcc, where the tools for that are."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tc.codegen.c.compilers import zig_flags
from tc.standalone import building
from tc.standalone.prefix import weights_file
from tc.standalone.running import Exported
from tc.target import Target
from tests.standalone.exported import Words, compiled_words, need, words_inputs


def agrees(exported: Exported) -> None:
    """Its results are those of eager."""
    inputs = words_inputs()
    with torch.no_grad():
        wanted = Words()(**inputs).numpy()
    found = exported.run({name: tensor.numpy() for name, tensor in inputs.items()})
    np.testing.assert_allclose(found["output"], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("target", "name"), [("host", "lexicon"), ("arm-neon", "model")])
def test_cmake_builds_a_program_beside_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, name: str
) -> None:
    need("cmake", "make", "cc")
    if target != "host":
        need("aarch64-linux-gnu-gcc", "qemu-aarch64")
    monkeypatch.delenv("CC", raising=False)
    exported = compiled_words(target).export_c(tmp_path, name=name)
    flags = "-DCMAKE_C_FLAGS_RELEASE=-O1 -Werror"
    built = tmp_path / "build"
    for words in (["-S", str(tmp_path), "-B", str(built), flags], ["--build", str(built)]):
        done = subprocess.run(["cmake", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    weights = weights_file(name)
    assert (built / weights).read_bytes() == (tmp_path / weights).read_bytes()
    agrees(replace(exported, folder=built))


@pytest.mark.parametrize("target", ["host", "arm-neon+dotprod"])
def test_zig_builds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    need("make")
    zig = shutil.which("zig") or shutil.which("python-zig")
    if zig is None:
        pytest.skip("needs zig on the PATH (pip install ziglang has python-zig)")
    monkeypatch.setenv("ZIG_LOCAL_CACHE_DIR", str(tmp_path / "cache"))
    other = ""
    if target != "host":
        need("qemu-aarch64")
        other = " -target aarch64-linux-musl"
    monkeypatch.setenv("CC", f"{zig} cc{other}")
    exported: Any = compiled_words(target).export_c(tmp_path)
    exported.build(flags="-O1 -Werror")
    agrees(exported)


@pytest.mark.parametrize(
    ("target", "flag"),
    [
        ("x86-64-v2", ("-mcpu=x86_64_v2",)),
        ("x86-64-v4+avx512vnni+amx-int8 cpu=sapphirerapids", ("-mcpu=x86_64_v4+avx512vnni",)),
        ("arm-neon+dotprod+fullfp16 cpu=neoverse-n1", ("-mcpu=generic+dotprod+fullfp16",)),
        ("generic-c99", ()),
    ],
)
def test_zig_has_its_own_names_of_machines(target: str, flag: tuple[str, ...]) -> None:
    parsed = Target.parse(target)
    assert zig_flags(parsed) == flag
    assert f"MACHINE := {' '.join(flag)}\nendif" in building.makefile(parsed, ["model.c"])
    assert f"  set(machine {' '.join(flag)})\nelse()" in building.cmake(parsed, ["model.c"])


def test_a_mac_is_a_machine_of_arm() -> None:
    assert "$(filter aarch64 arm64," in building.makefile(Target.parse("arm-neon"), ["model.c"])
