"""Running artifacts: results, plans, weights, errors, threads; on code made of Python functions."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest

from tc.codegen.direct import Counter
from tc.device.arrays import NumpyArrays
from tc.device.artifact import Artifact, Code, FallbackCall, KernelCall, Place, StorageArg
from tc.device.run import Program
from tc.device.run_plan import Planner
from tc.device.run_stats import process_stats
from tc.errors import TcError, UnsupportedError
from tc.ir.types import BOOL, F32, I64
from tests.device.fake_code import N, floats, functions, kernel, storage, tensor

# out = (x + packed) * x with packed = 2 * w, over a temporary: a prepare step and two main steps.
ARTIFACT = Artifact(
    target="generic",
    symbols=(N,),
    inputs=(tensor("x", "n", 4),),
    outputs=(tensor("y", "n", 4),),
    params=(tensor("w", 4),),
    storages=(
        storage(Place.INPUT, 0, "n", 4),
        storage(Place.PARAM, 0, 4),
        storage(Place.PREPARED, 0, 4),
        storage(Place.TEMP, 0, "n * 4"),
        storage(Place.OUTPUT, 0, "n", 4),
    ),
    prepare=(KernelCall(0, (1, 2), ()),),
    main=(KernelCall(1, (0, 2, 3), ("n",)), KernelCall(2, (3, 0, 4), ("n", "n * 4"))),
    kernels=(kernel("double"), kernel("add", "rows"), kernel("multiply", "rows", "size")),
    code=(Code("prepare_0", b""), Code("main_0", b"", ("index out of range",))),
)


def double(b: list[int], _: list[int]) -> None:
    floats(b[1], 4)[:] = 2 * floats(b[0], 4)


def add(b: list[int], s: list[int]) -> int | None:
    x, w, t = floats(b[0], s[0], 4), floats(b[1], 4), floats(b[2], s[0], 4)
    t[:] = x + w
    return 1 if (x == -1).any() else None


def multiply(b: list[int], s: list[int]) -> None:
    assert s[1] == 4 * s[0]
    t, x, y = (floats(a, s[0], 4) for a in b)
    y[:] = t * x


KERNELS = (double, add, multiply)


def program(artifact: Artifact = ARTIFACT, w: np.ndarray | None = None) -> Program:
    weights = [np.arange(4, dtype=np.float32) if w is None else w]
    return Program(artifact, functions(artifact, KERNELS), NumpyArrays(), weights)


def expected(x: np.ndarray, w: np.ndarray | None = None) -> np.ndarray:
    return (x + 2 * (np.arange(4, dtype=np.float32) if w is None else w)) * x


def rows(n: int) -> np.ndarray:
    return np.arange(4 * n, dtype=np.float32).reshape(n, 4) / 7


@pytest.mark.parametrize("n", [0, 1, 3, 64, 1000])
def test_every_size_runs_on_one_program(n: int) -> None:
    p = program()
    for _ in range(2):
        (y,) = p([rows(n)])
        np.testing.assert_array_equal(y, expected(rows(n)))


def test_sizes_in_turn_share_an_arena() -> None:
    p = program()
    for n in (2, 900, 2, 900, 1):
        np.testing.assert_array_equal(p([rows(n)])[0], expected(rows(n)))
    assert len(p.stats.counters) == 1
    assert p.stats.counters[0][Counter.CALLS] == 5


def test_a_plan_is_few_objects_however_long_the_program() -> None:
    chain = [KernelCall(2, (n, 0, n + 1), ("n", "n * 4")) for n in range(3, 103)]
    temps = [storage(Place.TEMP, n, "n", 4) for n in range(100)]
    artifact = replace(
        ARTIFACT,
        storages=(*ARTIFACT.storages[:3], *temps, ARTIFACT.storages[-1]),
        main=(ARTIFACT.main[0], *chain),
    )
    planner = Planner(artifact, 1)
    assert len(planner.main((7,)).offsets) == 100
    before = sys.getallocatedblocks()
    plans = [planner.main((n,)) for n in range(1000, 1100)]
    assert sys.getallocatedblocks() - before < 30 * len(plans)


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (5, 7)])
def test_results_lie_on_a_cache_line(shape: tuple[int, ...]) -> None:
    for dtype in (F32, BOOL, I64):
        array = NumpyArrays().maker(shape, dtype)()
        assert array.shape == shape
        assert not array.size or NumpyArrays().address(array) % 64 == 0


def test_results_stay_as_they_are() -> None:
    p = program()
    first = p([rows(3)])[0]
    kept = first.copy()
    p([rows(3) + 5])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    "x",
    [
        np.asfortranarray(rows(5)),
        rows(10)[::2],
        np.broadcast_to(rows(1), (6, 4)),
        np.frombuffer(b"\0" + rows(3).tobytes(), np.uint8)[1:].view(np.float32).reshape(3, 4),
        rows(5)[::-1],
        rows(5)[:, ::-1],
        rows(9)[7:0:-2, ::-1],
        rows(9).ravel()[3:27].reshape(6, 4),
    ],
    ids=[
        "transposed",
        "strided",
        "expanded",
        "unaligned",
        "upside down",
        "mirrored",
        "strided backwards",
        "offset",
    ],
)
def test_any_layout(x: np.ndarray) -> None:
    np.testing.assert_array_equal(program()([x])[0], expected(np.ascontiguousarray(x)))


def test_new_weights_are_prepared_anew() -> None:
    p = program()
    p([rows(3)])
    w = np.full(4, 3, np.float32)
    p.set_weights([w])
    np.testing.assert_array_equal(p([rows(3)])[0], expected(rows(3), w))


def test_old_weights_are_let_go() -> None:
    p = program()
    p([rows(3)])
    block = p._weights.blocks[0]
    p.set_weights([np.zeros(4, np.float32)])
    p([rows(3)])
    gone = weakref.ref(block)
    del block
    assert gone() is None


class Versioned(NumpyArrays):
    """Arrays that are never written to."""

    def identity(self, array):
        return array.__array_interface__["data"][0]


def test_programs_of_the_same_weights_share_what_is_prepared() -> None:
    w, other = np.full(4, 2, np.float32), np.full(4, 2, np.float32)
    made = functions(ARTIFACT, KERNELS)
    first, second, third = (Program(ARTIFACT, made, Versioned(), [x]) for x in (w, w, other))
    assert first._weights.blocks[0] is second._weights.blocks[0]
    assert first._weights.blocks[0] is not third._weights.blocks[0]
    for p in (first, second, third):
        np.testing.assert_array_equal(p([rows(3)])[0], expected(rows(3), w))
    block = weakref.ref(first._weights.blocks[0])
    first.set_weights([other])
    assert first._weights.blocks[0] is third._weights.blocks[0]
    assert block() is second._weights.blocks[0]
    del second
    gc.collect()
    assert block() is None


def test_what_is_made_otherwise_is_not_shared() -> None:
    w = np.full(4, 2, np.float32)
    # The name of each stands in what it does too.
    twice, thrice = (
        replace(
            ARTIFACT,
            kernels=(replace(kernel(name), text=f"def kernel(): {name}"), *ARTIFACT.kernels[1:]),
        )
        for name in ("double", "thrice")
    )

    def triple(b: list[int], _: list[int]) -> None:
        floats(b[1], 4)[:] = 3 * floats(b[0], 4)

    one = Program(twice, functions(twice, KERNELS), Versioned(), [w])
    two = Program(thrice, functions(thrice, (triple, add, multiply)), Versioned(), [w])
    x = rows(2)
    np.testing.assert_array_equal(one([x])[0], (x + 4) * x)
    np.testing.assert_array_equal(two([x])[0], (x + 6) * x)


def test_many_threads_on_one_program() -> None:
    p = program()
    wrong: list[int] = []

    def work(seed: int) -> None:
        for n in range(1, 40):
            x = rows(n) + seed
            if not np.array_equal(p([x])[0], expected(x)):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(50 + n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert sum(c[Counter.CALLS] for c in p.stats.counters) == 8 * 39


def test_an_input_that_is_written_to_comes_back() -> None:
    # The program squares its input in place: the output storage of `multiply` is the input.
    artifact = replace(
        ARTIFACT,
        main=(KernelCall(2, (0, 0, 0), ("n", "n * 4")), KernelCall(2, (0, 0, 4), ("n", "n * 4"))),
        mutated=(0,),
    )
    wide = rows(8)
    x = wide[::2]
    before = x.copy()
    (y,) = program(artifact)([x])
    np.testing.assert_array_equal(x, before**2)
    np.testing.assert_array_equal(wide[1::2], rows(8)[1::2])
    np.testing.assert_array_equal(y, (before**2) ** 2)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "0 inputs: the program takes 1; pass x"),
        ([rows(2), rows(2)], "2 inputs: the program takes 1"),
        ([rows(2)[0]], "input x: has rank 1"),
        ([np.zeros((2, 5), np.float32)], "input x: has 5 in dim 1, expected 4"),
        ([np.zeros((2, 4))], "input x: is of dtype float64, the program takes f32"),
        ([[[1.0] * 4]], "input x: is of type list, not a NumPy array"),
        ([np.zeros((1001, 4), np.float32)], "dim 0 of x: is 1001, the program takes 0 to 1000"),
    ],
)
def test_inputs_that_do_not_fit(args: list[object], said: str) -> None:
    p = program()
    with pytest.raises(TcError, match=said):
        p(args)
    np.testing.assert_array_equal(p([rows(2)])[0], expected(rows(2)))


def test_what_a_kernel_reports_is_raised_once() -> None:
    p = program()
    with pytest.raises(TcError, match="index out of range"):
        p([np.full((2, 4), -1, np.float32)])
    np.testing.assert_array_equal(p([rows(2)])[0], expected(rows(2)))


def test_a_weight_of_another_shape() -> None:
    with pytest.raises(TcError, match=r"weight w: has shape \(5,\), was compiled with \(4,\)"):
        program(w=np.zeros(5, np.float32))


class WithRoll(NumpyArrays):
    """Falls back to `numpy.roll` by one."""

    def fallback(self, call, views, dims) -> None:
        assert list(dims) == []
        (address, shape, _), (to, _, _) = (views[s] for s in (*call.inputs, *call.outputs))
        floats(to, *shape)[:] = np.roll(floats(address, *shape), call.args[1], axis=0)


FALLBACK = replace(
    ARTIFACT,
    storages=(*ARTIFACT.storages, storage(Place.TEMP, 1, "n", 4)),
    main=(
        KernelCall(1, (0, 2, 3), ("n",)),
        FallbackCall("aten.roll.default", (StorageArg(3), 1), (5,)),
        KernelCall(2, (5, 0, 4), ("n", "n * 4")),
    ),
)


def test_a_fallback_between_kernels() -> None:
    artifact = replace(
        FALLBACK, storages=(*FALLBACK.storages[:3], storage(Place.TEMP, 0, "n", 4),
                            *FALLBACK.storages[4:])
    )  # fmt: skip
    w = np.arange(4, dtype=np.float32)
    p = Program(artifact, functions(artifact, KERNELS), WithRoll(), [w])
    x = rows(5)
    for _ in range(2):
        np.testing.assert_array_equal(p([x])[0], np.roll(x + 2 * w, 1, axis=0) * x)
    assert p.stats.fallbacks == {"aten.roll.default": 2}


def test_a_fallback_needs_a_framework() -> None:
    with pytest.raises(UnsupportedError, match="aten.roll.default: it runs eagerly in PyTorch"):
        program(FALLBACK)([rows(2)])


def test_profile_tells_each_step() -> None:
    p = program()
    p([rows(3)])
    times = p.profile([rows(3)])
    assert [t.step for t in times] == list(ARTIFACT.main)
    assert [t.nanoseconds for t in times] == [100, 200]
    assert [t.waiting for t in times] == [0, 0]
    assert times[0].values == (3,)


def test_counters_of_the_process_outlive_a_program() -> None:
    def calls() -> int:
        found = process_stats()["calls"]
        assert isinstance(found, int)
        return found

    before = calls()
    p = program()
    for _ in range(3):
        p([rows(1)])
    assert calls() == before + 3
    del p
    gc.collect()
    assert calls() == before + 3
