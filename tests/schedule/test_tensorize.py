"""`tensorize`: sums of products of small elements, and what becomes of them further down."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import tc
from tc import te
from tc.codegen.runs_here import check_runs_here
from tc.errors import CompileError, ScheduleError
from tc.ir.expr import Dot
from tc.ir.interpret import run, storage
from tc.ir.loop import Func, LoopKind
from tc.ir.lower import lower
from tc.ir.passes import kernel_passes
from tc.ir.verify import verify
from tc.ir.visit import exprs_of, sub_stmts
from tc.schedule.defaults import default_schedule
from tc.schedule.pack import packings
from tc.schedule.step import Schedule
from tc.target import Target
from tests.schedule.running import (
    Arrays,
    assert_same,
    machines,
    packed,
    results,
    scheduled,
    value,
)

KINDS = {
    "bf16": ("bf16", "bf16", "f32", 2),
    "int8": ("u8", "i8", "i32", 4),
    "masked": ("u8", "i8", "i32", 4),  # of the first factor 7 bits count
}
TARGETS = machines("host", "x86-64-v4", "x86-64-v3", "x86-64-v2", "generic")
SIZES = ((8, 64, 100), (1, 32, 17), (13, 39, 50), (3, 3, 2))


def product(kind: str, m: te.DimLike, k: int, n: int) -> tuple[te.Tensor, te.Placeholder]:
    """Σ_k a[i, k] w[j, k], and w."""
    left, right, total, _ = KINDS[kind]
    a, w = te.placeholder((m, k), left), te.placeholder((n, k), right)
    r, inner = te.reduce_axis(k), te.dtype(total)

    def element(i: te.Expr, j: te.Expr) -> te.Expr:
        x = a[i, r] & te.const(127, te.U8) if kind == "masked" else a[i, r]
        return te.sum(te.cast(x, inner) * te.cast(w[j, r], inner), axis=r)

    return te.compute((m, n), element), w


def kernel(kind: str) -> Func:
    out, _ = product(kind, te.sym("M", 1, 64), 8, 12)
    return lower((out,))


def numbers(func: Func, size: int) -> Arrays:
    """Small whole numbers, whose sums are exact in any order; bf16 as its bits."""
    rng = np.random.default_rng(size)
    out: Arrays = {}
    for p in func.params:
        shape = tuple(value(d, {"M": size}) for d in p.shape)
        data = rng.integers(0 if p.dtype is te.U8 else -5, 6, shape)
        if p.dtype is te.BF16:
            out[p.name] = (data.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        else:
            out[p.name] = data.astype(storage(p.dtype))
    return out


STEPS = {
    kind: f"split(k, {row[3]}) split(j, 4) reorder(j0, i, k0, j1) "
    f"pack(p1, 0, 4, along=1, group={row[3]}) tensorize(k1) vectorize(j1, 4)"
    for kind, row in KINDS.items()
}


@pytest.mark.parametrize("kind", KINDS)
def test_text(kind: str, golden: Callable[[str, str], None]) -> None:
    func = scheduled(kernel(kind), STEPS[kind])
    lines = [f"# {STEPS[kind]}", str(func)]
    for name, step in kernel_passes():
        func = step(func)
        if name == "dots":
            lines += ["# after the pass dots", str(func)]
    golden(kind, "\n".join(lines))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3, 8])
def test_every_pass_keeps_the_result(kind: str, size: int) -> None:
    naive = kernel(kind)
    arrays = numbers(naive, size)
    wanted = results(naive, arrays, {"M": size})
    func = scheduled(naive, STEPS[kind])
    (packing,) = packings(Schedule.parse(STEPS[kind]))
    given = {**arrays, "p1": packed(arrays["p1"], packing)}
    assert_same(results(func, given, {"M": size}), wanted, "scheduled", exact=True)
    for name, step in kernel_passes():
        func = verify(step(func))
        assert_same(results(func, given, {"M": size}), wanted, name, exact=True)
    has_dot = any(isinstance(x, Dot) for x in exprs_of(func.body))
    assert has_dot
    assert all(getattr(s, "kind", None) is not LoopKind.DOT for s in sub_stmts(func.body))


def test_what_does_not_lie_side_by_side_is_unrolled() -> None:
    naive = kernel("bf16")
    steps = "split(k, 2) split(j, 4) reorder(j0, i, k0, j1) tensorize(k1) vectorize(j1, 4)"
    func = scheduled(naive, steps)
    for _, step in kernel_passes():
        func = step(func)
    assert not any(isinstance(x, Dot) for x in exprs_of(func.body))
    arrays = numbers(naive, 3)
    assert_same(results(func, arrays, {"M": 3}), results(naive, arrays, {"M": 3}), "", exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_default_schedule_on_every_path(kind: str, target: str) -> None:
    try:
        check_runs_here(Target.parse(target))
    except CompileError as error:
        pytest.skip(error.message)
    for m, k, n in SIZES:
        out, w = product(kind, m, k, n)
        a, b = _data(kind, m, k, n)
        got = tc.build(out, target, constants=(w,), threads=1)(a, b)
        counted = a & 127 if kind == "masked" else a
        wanted = counted.double() @ b.double().T
        size = float(wanted.abs().max())
        assert float((got.double() - wanted).abs().max()) <= 1e-5 * max(1.0, size), (m, k, n)


def _data(kind: str, m: int, k: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Operands; extreme bytes among the integers, since sums of two fit no i16."""
    seed = torch.Generator().manual_seed(m * k * n)
    if kind in ("int8", "masked"):
        a = torch.randint(0, 256, (m, k), dtype=torch.uint8, generator=seed)
        b = torch.randint(-128, 128, (n, k), dtype=torch.int8, generator=seed)
        a[0], b[0] = 255, -128
        return a, b
    a = torch.randn(m, k, generator=seed)
    b = torch.randn(n, k, generator=seed).bfloat16()
    return (a.bfloat16() if kind == "bf16" else a), b


def test_default_schedule_uses_the_instructions() -> None:
    target = Target.parse("x86-64-v4+avx512bf16+avx512vnni")
    for kind in KINDS:
        out, w = product(kind, te.sym("M", 1, 512), 768, 96)
        assert "tensorize(k1)" in str(default_schedule((out,), None, frozenset([w.name]), target))
    # Without data that is laid out once there is nothing to gain.
    out, w = product("bf16", te.sym("M", 1, 512), 768, 96)
    assert "tensorize" not in str(default_schedule((out,), None, frozenset(), target))


def test_instructions_of_the_target() -> None:
    for kind, word in (("bf16", "vdpbf16ps"), ("int8", "vpdpbusd")):
        out, w = product(kind, 8, 64, 96)
        with_dots = tc.build(out, "x86-64-v4+avx512bf16+avx512vnni", constants=(w,)).asm
        assert word in with_dots and "zmm" in with_dots
        assert word not in tc.build(out, "x86-64-v3", constants=(w,)).asm
    assert "vpmaddwd" in tc.build(out, "x86-64-v3", constants=(w,)).asm


@pytest.mark.parametrize(
    ("kind", "target", "word"),
    [
        ("int8", "arm-neon+i8mm", "usdot"), ("masked", "arm-neon+dotprod", "sdot"),
        ("int8", "arm-neon+dotprod", "mla"), ("masked", "arm-neon", "sadalp"),
        ("bf16", "arm-neon+bf16", "bfdot"), ("bf16", "arm-neon", "fmla"),
    ],
)  # fmt: skip
def test_instructions_of_arm(kind: str, target: str, word: str) -> None:
    out, w = product(kind, 8, 64, 96)
    assert f"\t{word}\t" in tc.build(out, target, constants=(w,)).asm


def test_bytes_are_summed_in_i16_where_they_fit() -> None:
    for kind, target, fits in (
        ("masked", "x86-64-v3", True), ("masked", "x86-64-v4", True),
        ("int8", "x86-64-v3", False), ("masked", "generic", False),
    ):  # fmt: skip
        out, w = product(kind, 8, 64, 96)
        assert ("pmaddubsw" in tc.build(out, target, constants=(w,)).asm) == fits, (kind, target)


def test_integer_sums_are_exact_in_the_interpreter() -> None:
    out, _ = product("int8", 2, 8, 12)
    func = lower((out,))
    a = np.full((2, 8), 255, np.uint8)
    w = np.full((12, 8), -128, np.int8)
    found = np.zeros((2, 12), np.int32)
    run(func, {"p0": a, "p1": w, "out0": found}, {})
    assert (found == -255 * 128 * 8).all()


@pytest.mark.parametrize(
    ("kind", "steps", "message"),
    [
        ("bf16", "tensorize(k)", "for k in range(8): a dot product takes 2 of them; split"),
        ("int8", "split(k, 2) tensorize(k1)", "a dot product takes 4 of them"),
        ("bf16", "tensorize(j)", "for j in range(12): its body is no sum of products"),
        ("bf16", "tensorize(q)", "tensorize: kernel has no loop 'q'"),
    ],
)
def test_refused(kind: str, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel(kind), steps)
    assert message in str(error.value)
