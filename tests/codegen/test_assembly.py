"""Inner loops of assembly: where they are, what they do, what a machine model says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tc.codegen.assembly.counts import LoopCounts, count_loops
from tc.codegen.assembly.loops import inner_loops
from tc.codegen.assembly.machine_model import MachineModel, Timing
from tc.errors import UnsupportedError
from tc.target import Target
from tests.standalone.exported import need

ARM = """\
first:
\tmov\tx8, xzr
.LBB0_1:                                // in front of a loop and behind it
\tmov\tx9, xzr
.LBB0_2:                                //   Parent Loop BB0_1 Depth=1
\tldp\tq0, q1, [x1], #32
\tldr\ts2, [x2, x9, lsl #2]
\tfmla\tv3.4s, v0.4s, v2.s[0]
\tfmla\tv4.4s, v1.4s, v2.s[0]
\tadd\tx9, x9, #1
\tcmp\tx9, #7
\tb.lo\t.LBB0_2
\tstr\tq3, [x3, x8]
\tadd\tx8, x8, #16
\tcbnz\tx8, .LBB0_1
\tret
second:
.LBB1_1:
\tcbz\tx4, .LBB1_3
\tsdot\tv0.4s, v1.16b, v2.4b[0]
.LBB1_3:
\tprfm\tpldl2keep, [x1]
\tstp\tx0, x1, [sp, #16]
\tld1r\t{ v0.4s }, [x1], #4
\tld1\t{ v0.4s, v1.4s }, [x1]
\tst1\t{ v0.s }[1], [x1]
\tldrb\tw3, [x1]
\tfmadd\td0, d1, d2, d0
\tb.ne\t.LBB1_1
\tret
"""


def test_the_innermost_loops_are_found_with_all_their_blocks() -> None:
    first, second = inner_loops(ARM, "aarch64")
    assert (first.function, second.function) == ("first", "second")
    assert [i.name for i in first.body] == ["ldp", "ldr", "fmla", "fmla", "add", "cmp", "b.lo"]
    assert [i.name for i in second.body][:3] == ["cbz", "sdot", "prfm"]
    assert second.body[-1].operands == ".LBB1_1"


def test_a_loop_that_is_entered_in_its_middle_keeps_the_one_inside() -> None:
    text = "f:\n\tb\t.L3\n.L1:\n\tadd\tx0, x0, #1\n.L2:\n\tsub\tx1, x1, #1\n\tcbnz\tx1, .L2\n"
    (loop,) = inner_loops(text + ".L3:\n\tcmp\tx0, x2\n\tb.ne\t.L1\n\tret\n", "aarch64")
    assert [i.name for i in loop.body] == ["sub", "cbnz"]


def test_no_loop_is_found_where_there_is_none() -> None:
    assert inner_loops("f:\n\tcbz\tx0, .L1\n\tadd\tx0, x0, #1\n.L1:\n\tret\n", "aarch64") == []


def test_what_a_loop_of_arm_does() -> None:
    first, second = count_loops(ARM, "aarch64")
    assert (first.fmas, first.products, first.instructions) == (2, 8, 7)
    assert first.kinds == (("fmla 4s", 2),)
    assert (first.loads, first.loaded, first.stores, first.spills) == (2, 36, 0, 0)
    assert (second.fmas, second.products) == (2, 17)
    assert (second.loads, second.loaded) == (3, 4 + 32 + 1)
    assert (second.stores, second.stored) == (2, 16 + 4)
    assert second.spills == 1  # nothing tells it from other accesses of the stack


X86 = """\
f:
.LBB0_1:
\tvbroadcastss\t(%rax,%rcx), %ymm0
\tvfmadd231ps\t(%rdx), %ymm0, %ymm1
\tvfmadd231ss\t4(%rdx), %xmm0, %xmm2
\tvpmovzxbd\t(%rdx), %ymm3
\tvmovups\t%ymm1, -32(%rsp)
\tvmovups\t-32(%rsp), %ymm1               # 32-byte Reload
\taddq\t$1, 8(%rsi)
\tcmpl\t$3, (%rsi)
\tleaq\t8(%rsi), %rsi
\tprefetcht0\t(%rdx)
\tvpdpbusd\t%zmm1, %zmm2, %zmm3
\tvmulps\t(%rdx){1to16}, %zmm1, %zmm2
\tmovzbl\t(%rdx), %eax
\tjne\t.LBB0_1
\tretq
"""


def test_what_a_loop_of_x86_does() -> None:
    (loop,) = count_loops(X86, "x86_64")
    assert (loop.fmas, loop.products) == (3, 8 + 1 + 64)
    assert loop.loaded == 4 + 32 + 4 + 8 + 32 + 8 + 4 + 4 + 1
    assert (loop.stores, loop.stored) == (2, 32 + 8)
    assert loop.spills == 2


def test_spills_are_what_llvm_says_they_are() -> None:
    (loop,) = count_loops(X86.replace("f:", "f:   # -- Begin function f"), "x86_64")
    assert loop.spills == 1


def timed(text: str, cpu: str) -> tuple[LoopCounts, Timing]:
    (counts,) = count_loops(f"f:\n.L1:\n{text}\n\tb\t.L1\n", "aarch64")
    timing = MachineModel(Target.parse(f"arm-neon cpu={cpu}")).timing(counts)
    assert timing is not None
    return counts, timing


def test_independent_sums_reach_the_peak_and_dependent_ones_wait() -> None:
    need("llvm-mca")
    many = "\n".join(f"\tfmla\tv{n}.4s, v30.4s, v31.4s" for n in range(24))
    _, free = timed(many, "cortex-a72")
    assert 0.95 < free.peak <= 1.0
    assert free.limit == "units"
    _, bound = timed("\tfmla\tv0.4s, v30.4s, v31.4s", "cortex-a72")
    assert bound.peak < 0.5
    assert bound.limit == "latency"


def test_an_instruction_that_a_processor_lacks_has_no_timing() -> None:
    need("llvm-mca")
    (counts,) = count_loops("f:\n.L1:\n\tsmmla\tv0.4s, v1.16b, v2.16b\n\tb\t.L1\n", "aarch64")
    assert MachineModel(Target.parse("arm-neon cpu=cortex-a72")).timing(counts) is None


def test_without_a_model_the_package_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="no llvm-mca on this machine; install llvm"):
        MachineModel(Target.parse("arm-neon"))
