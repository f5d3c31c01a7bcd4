"""Programs of several kernels: the entry, timestamps, object code, the OpenMP runtime."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tc.codegen import openmp
from tc.codegen.abi import INDEX, Call, Slot, stamp_count
from tc.codegen.llvm import jit
from tc.codegen.llvm.jit import Module, compile_module, load_object
from tc.errors import CompileError
from tc.ir.parser import parse_func
from tc.ir.passes import run_passes
from tc.target import Target

DOUBLE = """\
def double(A: f32[N], B: out f32[N], N: sym[0, 10000]):
    for i in parallel(N):
        B[i] = A[i] * 2.0:f32
"""
REVERSE = """\
def reverse(A: f32[N], B: out f32[N], N: sym[0, 10000]):
    for i in parallel(N):
        B[i] = A[N - 1 - i] + 1.0:f32
"""
CHECK = """\
def check(A: f32[N], B: out f32[N], N: sym[0, 10000]):
    assert N < 9000, "long"
    assert N < 8000, "{message}"
    for i in parallel(N):
        B[i] = A[i]
"""
HOST = Target.parse("host")
FIRST = int(Slot.FIRST)


def program(*texts: str) -> Module:
    """Each kernel reads what the one before it wrote: buffer n to buffer n + 1."""
    kernels = [run_passes(parse_func(t)) for t in texts]
    last = FIRST + len(texts) + 1
    calls = [Call(n, (FIRST + n, FIRST + n + 1), (last,)) for n in range(len(texts))]
    return compile_module(kernels, calls, HOST)


def run(
    module: Module, x: np.ndarray, count: int, threads: int = 1, profile: int = 0, hints: int = 0
) -> int:
    """The error word; the last buffer is copied to `x`."""
    buffers = [x.copy()] + [np.zeros_like(x) for _ in range(count)]
    error = ctypes.c_int32(0)
    head = [threads, profile, 0, 0, ctypes.addressof(error), hints]
    slots = [*head, *[b.ctypes.data for b in buffers], len(x)]
    array = (ctypes.c_int64 * len(slots))(*slots)
    module.entry(ctypes.addressof(array))
    x[:] = buffers[-1]
    return error.value


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_kernels_wait_for_one_another(threads: int) -> None:
    module = program(DOUBLE, REVERSE, DOUBLE, REVERSE)
    for _ in range(20):
        x = np.arange(4001, dtype=np.float32)
        assert run(module, x, 4, threads) == 0
        assert np.array_equal(x, np.arange(4001) * 4 + 3)


@pytest.mark.parametrize("count", [0, 1, 3, 130])
def test_hints_may_lead_anywhere(count: int) -> None:
    module = program(DOUBLE, REVERSE, DOUBLE)
    wild = [n * 0x1234567890ABCD % (1 << 64) for n in range(count)]  # the first of them is null
    hints = (ctypes.c_uint64 * (1 + count))(count, *wild)
    for threads in (1, 2):
        x = np.arange(33, dtype=np.float32)
        assert run(module, x, 3, threads, hints=ctypes.addressof(hints)) == 0
        assert np.array_equal(x, (np.arange(33)[::-1] * 2 + 1) * 2)


SHIFT = """\
def shift(A: f32[N], B: out f32[N], N: sym[0, 10000], n: sym[0, 10000]):
    for i in parallel(N):
        B[i] = A[N - 1 - i] + cast(n, f32)
"""


def turns(compile_: Callable[..., Module], times: int) -> Callable[[np.ndarray, int], None]:
    """x doubled, then a loop that adds 2 x its index and mirrors x twice, then doubled again."""
    kernels = [run_passes(parse_func(t)) for t in (DOUBLE, SHIFT)]
    size, often = FIRST + 3, FIRST + 4
    loop = (0, often)
    calls = [
        Call(0, (FIRST, FIRST + 1), (size,)),
        Call(1, (FIRST + 1, FIRST + 2), (size, INDEX), loop),
        Call(1, (FIRST + 2, FIRST + 1), (size, INDEX), loop),
        Call(0, (FIRST + 1, FIRST + 2), (size,)),
    ]
    module = compile_(kernels, calls, HOST)

    def call(x: np.ndarray, threads: int) -> None:
        buffers = [x.copy(), np.zeros_like(x), np.zeros_like(x)]
        error = ctypes.c_int32(0)
        head = [threads, 0, 0, 0, ctypes.addressof(error), 0]
        slots = [*head, *[b.ctypes.data for b in buffers], len(x), times]
        array = (ctypes.c_int64 * len(slots))(*slots)
        module.entry(ctypes.addressof(array))
        x[:] = buffers[-1]

    return call


@pytest.mark.parametrize("times", [0, 1, 7])
def test_calls_in_a_loop_run_in_turn(times: int) -> None:
    call = turns(compile_module, times)
    for threads in (1, 2, 5):
        x = np.arange(4001, dtype=np.float32)
        call(x, threads)
        assert np.array_equal(x, np.arange(4001) * 4 + 2 * times * (times - 1))


CROWDED = """
import os, time
import numpy as np
from tests.codegen.test_program import DOUBLE, program, run
module, x = program(*[DOUBLE] * 20), np.ones(1000, np.float32)
run(module, x, 20, 2)
assert (x == 2.0**20).all()
one = {min(os.sched_getaffinity(0))}  # only now: the runtime has counted the cores
for thread in os.listdir("/proc/self/task"):
    os.sched_setaffinity(int(thread), one)
start = time.process_time()
for _ in range(20):
    run(module, x.copy(), 20, 2)
print(time.process_time() - start)
"""


def test_threads_that_share_a_core_do_not_spin_in_each_others_way() -> None:
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", CROWDED]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=100)
    # 400 barriers of 2 threads: hundredths of a second, with barriers that only spin seconds.
    assert float(done.stdout) < 0.4


@pytest.mark.parametrize("threads", [1, 2])
def test_each_thread_stamps_the_beginning_and_the_end_of_each_kernel(threads: int) -> None:
    times = np.zeros(stamp_count(3, threads), np.int64)
    x = np.zeros(4001, np.float32)
    run(program(DOUBLE, REVERSE, DOUBLE), x, 3, threads=threads, profile=times.ctypes.data)
    stamps = times.reshape(threads, 3, 2)
    assert np.all(stamps[0] > 0)
    for mine in stamps[stamps[:, 0, 0] > 0]:
        assert np.all(np.diff(mine.reshape(-1)) >= 0)
    # No thread begins a kernel before all have ended the one before it.
    present = stamps[stamps[:, 0, 0] > 0]
    assert np.all(present[:, 1:, 0].min(axis=0) >= present[:, :-1, 1].max(axis=0))


def test_the_error_word_names_the_message() -> None:
    module = program(CHECK.format(message="rather long"), DOUBLE)
    assert module.messages == ("long", "rather long")
    assert run(module, np.zeros(10, np.float32), 2) == 0
    assert run(module, np.zeros(8500, np.float32), 2, threads=2) == 2
    assert run(module, np.zeros(9500, np.float32), 2, threads=2) == 1  # of two the first


def test_equal_kernels_are_compiled_once() -> None:
    module = program(DOUBLE, REVERSE, DOUBLE)
    assert len(module.texts) == 3  # with the entry
    assert "fmul" in module.llvm_ir
    assert "mulss" in module.asm or "addss" in module.asm


def test_a_kernel_is_begun_before_the_program_is_known() -> None:
    double = run_passes(parse_func(DOUBLE))
    call = Call(0, (FIRST, FIRST + 1), (FIRST + 2,))
    with jit.Compiler(HOST, None) as compiler:
        begun = compiler.begin(double)
        assert len(compiler._objects) == 1
        module = compiler.module([begun], [call])
        assert len(compiler._objects) == 2  # with the entry
    assert module.object_code == compile_module([double], [call], HOST).object_code


def test_messages_are_numbered_as_kernels_are_begun() -> None:
    kernels = [run_passes(parse_func(CHECK.format(message=m))) for m in ("a", "b")]
    calls = [Call(n, (FIRST + n, FIRST + n + 1), (FIRST + 3,)) for n in range(2)]
    with jit.Compiler(HOST, None) as compiler:
        begun = [compiler.begin(k) for k in kernels]
        assert len(compiler._objects) == 2
        module = compiler.module(begun, calls)
        assert len(compiler._objects) == 3  # with the entry
    assert module.messages == ("long", "a", "b")


def test_a_compiler_makes_several_programs_of_one_kernel() -> None:
    kernels = [run_passes(parse_func(t)) for t in (CHECK.format(message="a"), DOUBLE)]
    calls = [Call(n, (FIRST + n, FIRST + n + 1), (FIRST + 3,)) for n in range(2)]
    with jit.Compiler(HOST, None) as compiler:
        found = [compiler.module(kernels, calls), compiler.module(kernels[1:], calls[:1])]
    alone = [compile_module(kernels, calls, HOST), compile_module(kernels[1:], calls[:1], HOST)]
    assert [m.object_code for m in found] == [m.object_code for m in alone]


def test_object_code_is_loaded_back() -> None:
    made = program(DOUBLE, REVERSE)
    loaded = load_object(made.object_code, HOST, made.messages)
    x = np.arange(100, dtype=np.float32)
    run(loaded, x, 2)
    assert np.array_equal(x, np.arange(100)[::-1] * 2 + 1)
    with pytest.raises(CompileError, match="loaded from object code"):
        _ = loaded.llvm_ir


@pytest.mark.parametrize("cut", [0, 5, 20, -1])
def test_damaged_object_code(cut: int) -> None:
    data = program(DOUBLE).object_code[:cut]
    with pytest.raises(CompileError, match="damaged or cut short"):
        load_object(data, HOST, ())


def test_code_of_another_machine_is_compiled_but_not_run() -> None:
    kernel = run_passes(parse_func(DOUBLE))
    calls = [Call(0, (FIRST, FIRST + 1), (FIRST + 2,))]
    other = "arm-neon" if HOST.arch == "x86_64" else "x86-64-v3"
    module = compile_module([kernel], calls, Target.parse(other))
    assert "ret" in module.asm
    with pytest.raises(CompileError, match='compile for target "host"'):
        _ = module.entry


def test_without_an_openmp_runtime_programs_run_on_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jit.openmp, "runtime", lambda: None)
    x = np.arange(100, dtype=np.float32)
    assert run(program(DOUBLE, REVERSE), x, 2, threads=4) == 0
    assert np.array_equal(x, np.arange(100)[::-1] * 2 + 1)


def test_the_runtime_that_is_loaded_already_is_taken(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    line = "7f00-7f01 r-xp 00000000 08:01 1    /opt/x/libgomp-e985bcbb.so.1.0.0\n"
    maps.write_text("7f10-7f11 r-xp 0 08:01 2    /usr/lib/libm.so.6\n" + line * 2)
    assert openmp._loaded(maps) == ["/opt/x/libgomp-e985bcbb.so.1.0.0"]
    assert openmp._loaded(tmp_path / "none") == []


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core: nobody to wait")
def test_threads_sleep_soon_after_a_call() -> None:
    code = (
        "import os, sys, time\n"
        "from tests.codegen.test_program import DOUBLE, program, run\n"
        "import numpy as np\n"
        "module, x = program(DOUBLE), np.zeros(1000, np.float32)\n"
        "spent = []\n"
        "for _ in range(9):\n"
        "    run(module, x, 1, threads=2)\n"
        "    before = time.process_time()\n"
        "    time.sleep(0.02)\n"
        "    spent.append(time.process_time() - before)\n"
        "assert 'GOMP_SPINCOUNT' not in os.environ\n"
        "assert min(spent) < 2e-3, spent\n"
    )
    root = Path(__file__).parents[2]
    waiting = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    environment = {k: v for k, v in os.environ.items() if k not in waiting}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=environment)


def test_torch_and_tc_share_one_runtime() -> None:
    pytest.importorskip("torch")
    code = (
        "import torch\n"
        "from tc.codegen.openmp import runtime, _loaded\n"
        "from pathlib import Path\n"
        "assert runtime().path in _loaded(Path('/proc/self/maps'))\n"
        "assert len({Path(p).resolve() for p in _loaded(Path('/proc/self/maps'))}) == 1\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=dict(os.environ))
