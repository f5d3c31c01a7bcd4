"""Programs through the host's C compiler: found, called, cached, loaded, and without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tc
from tc import te
from tc.codegen.abi import Call
from tc.codegen.c.compilers import find_compiler, machine_flags
from tc.codegen.c.module import CModule, compile_module
from tc.codegen.c.shared import load_shared
from tc.codegen.cache import ObjectCache
from tc.errors import CompileError, UnsupportedError
from tc.ir.parser import parse_func
from tc.ir.passes import run_passes
from tc.target import Target
from tests.codegen.test_program import CHECK, DOUBLE, FIRST, REVERSE, run, turns

HOST = Target.parse("host")


def program(*texts: str, cache: ObjectCache | None = None) -> CModule:
    kernels = [run_passes(parse_func(t)) for t in texts]
    last = FIRST + len(texts) + 1
    calls = [Call(n, (FIRST + n, FIRST + n + 1), (last,)) for n in range(len(texts))]
    return compile_module(kernels, calls, HOST, cache)


@pytest.fixture(scope="module")
def made() -> CModule:
    return program(DOUBLE, REVERSE, DOUBLE, REVERSE, CHECK.format(message="rather long"))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_kernels_wait_for_one_another(made: CModule, threads: int) -> None:
    for _ in range(20):
        x = np.arange(4001, dtype=np.float32)
        assert run(made, x, 5, threads) == 0
        assert np.array_equal(x, np.arange(4001) * 4 + 3)


def test_calls_in_a_loop_run_in_turn() -> None:
    call = turns(compile_module, 7)
    for threads in (1, 2, 5):
        x = np.arange(4001, dtype=np.float32)
        call(x, threads)
        assert np.array_equal(x, np.arange(4001) * 4 + 84)


def test_the_error_word_names_the_message(made: CModule) -> None:
    assert made.messages == ("long", "rather long")
    assert run(made, np.zeros(8500, np.float32), 5, threads=2) == 2
    assert run(made, np.zeros(9500, np.float32), 5, threads=2) == 1  # of two the first


def test_stamps(made: CModule) -> None:
    times = np.zeros(2 * 5, np.int64)
    run(made, np.zeros(100, np.float32), 5, profile=times.ctypes.data)
    assert times[0] > 0 and np.all(np.diff(times) >= 0)


def test_a_shared_library_is_loaded_back(made: CModule) -> None:
    again = load_shared(made.object_code, HOST, made.messages)
    x = np.arange(100, dtype=np.float32)
    assert run(again, x, 5) == 0
    assert np.array_equal(x, np.arange(100) * 4 + 3)
    turned = bytearray(made.object_code)
    turned[-1] ^= 1
    for damaged in (b"", made.object_code[:10], made.object_code[:2000], bytes(turned)):
        with pytest.raises(CompileError, match="damaged or cut short"):
            load_shared(damaged, HOST, ())


def test_what_can_be_looked_at(made: CModule) -> None:
    assert "static void double_(" in made.c_source
    assert made.c_source.count("static void reverse(") == 1
    assert "ret" in made.asm
    with pytest.raises(UnsupportedError, match="compiled from C"):
        _ = made.llvm_ir


def test_a_second_compilation_comes_from_the_cache(tmp_path: Path) -> None:
    for hits in (0, 1):  # the library as a whole
        cache = ObjectCache(tmp_path)
        assert program(DOUBLE, cache=cache).object_code
        assert cache.hits == hits
    cache = ObjectCache(tmp_path)
    program(DOUBLE, REVERSE, cache=cache)
    assert cache.hits == 1  # the kernel that was there before


def test_without_a_compiler_the_error_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="install the package gcc or clang"):
        find_compiler(path=str(tmp_path))
    with pytest.raises(CompileError, match="C compiler nonesuch -m64.*it is not there"):
        find_compiler("nonesuch -m64")
    broken = tmp_path / "broken cc"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o700)
    with pytest.raises(CompileError, match="does not run"):
        find_compiler(f"'{broken}'")


def test_the_compiler_of_the_environment_is_called_with_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = tmp_path / "words"
    wrapper = tmp_path / "my cc"
    wrapper.write_text(f'#!/bin/sh\necho "$1" >> "{words}"\nshift\nexec cc "$@"\n')
    wrapper.chmod(0o700)
    monkeypatch.setenv("CC", f"'{wrapper}' 'a; b'")
    monkeypatch.setenv("TC_CACHE_DIR", str(tmp_path / "cache"))
    a = te.placeholder((5,))
    f = tc.build(te.compute((5,), lambda i: a[i] * 3.0), codegen="c")
    assert f(np.ones(5, np.float32)).tolist() == [3.0] * 5
    assert set(words.read_text().splitlines()) == {"a; b"}
    calls = words.read_text().count("\n")
    assert "ret" in f.asm and words.read_text().count("\n") > calls


@pytest.mark.parametrize(
    ("target", "flags"),
    [
        ("x86-64-v3", ("-march=x86-64-v3",)),
        ("x86-64-v4+avx512bf16 cpu=znver4", ("-march=x86-64-v4", "-mavx512bf16", "-mtune=znver4")),
        ("arm-neon", ("-march=armv8-a",)),
        ("arm-neon+dotprod+fullfp16", ("-march=armv8.2-a+dotprod+fp16",)),
        ("arm-neon cpu=cortex-a72", ("-march=armv8-a", "-mtune=cortex-a72")),
        ("generic-c99", ()),
    ],
)
def test_flags(target: str, flags: tuple[str, ...]) -> None:
    assert machine_flags(Target.parse(target)) == flags


def test_both_generators_give_the_same_bits() -> None:
    m, k, j = te.sym("M"), te.reduce_axis(37), te.reduce_axis(40)
    a, b = te.placeholder((m, 37)), te.placeholder((37, 40))
    c = te.compute((m, 40), lambda i, n: te.sum(a[i, k] * b[k, n], axis=k))
    e = te.compute((m, 40), lambda i, n: te.exp(c[i, n] * 0.1))
    total = te.compute((m,), lambda i: te.sum(e[i, j], axis=j))
    out = te.compute((m, 40), lambda i, n: e[i, n] / total[i])
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(s).astype(np.float32) for s in ((11, 37), (37, 40)))
    found = [tc.build(out, codegen=g)(x, y) for g in ("llvm", "c")]
    np.testing.assert_array_equal(*found)
    with pytest.raises(UnsupportedError, match="codegen='rust'.*known: 'llvm', 'c'"):
        tc.build(out, codegen="rust")
