"""Targets: text to value and back, detection from synthetic machines, errors."""

from __future__ import annotations

import os
import platform
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tc
from tc.codegen.llvm.machine import Machine
from tc.errors import UnsupportedError
from tc.target import Target, host
from tc.target_tables import CPUS, FEATURES, LEVELS

V3_FLAGS = (
    "fpu sse sse2 pni ssse3 cx16 sse4_1 sse4_2 movbe popcnt xsave avx f16c lahf_lm abm fma "
    "bmi1 avx2 bmi2"
)
V4_FLAGS = V3_FLAGS + " avx512f avx512dq avx512cd avx512bw avx512vl"


@st.composite
def targets(draw: st.DrawFn) -> Target:
    level = draw(st.sampled_from(sorted(LEVELS)))
    extras = sorted(f.name for f in FEATURES.values() if level in f.levels)
    features = draw(st.lists(st.sampled_from(extras), unique=True)) if extras else []
    words = ["+".join([level, *features])]
    if draw(st.booleans()):
        words.append("cpu=" + draw(st.sampled_from(["znver5", "cortex-a76", "apple-m1"])))
    sizes = st.integers(1, 4096).flatmap(
        lambda n: st.sampled_from([f"{n}K", f"{n}M", f"{n * 1000}"])
    )
    for key in draw(st.lists(st.sampled_from(["l1d", "l2", "l3"]), unique=True)):
        words.append(
            f"{key}={draw(sizes.filter(lambda text: text[-1] in 'KM' or int(text) > 1023))}"
        )
    for key, values in (("cores", [1, 2, 64]), ("vector", [128, 256, 512]), ("line", [64, 128])):
        if draw(st.booleans()):
            words.append(f"{key}={draw(st.sampled_from(values))}")
    return Target.parse(" ".join(words))


@given(targets())
def test_text_reads_back_to_an_equal_target(target: Target) -> None:
    again = Target.parse(str(target))
    assert again == target
    assert hash(again) == hash(target)
    assert str(again) == str(target)


@pytest.mark.parametrize("name", sorted(LEVELS))
def test_a_level_prints_as_its_name(name: str) -> None:
    assert str(Target.parse(name)) == name


def test_a_named_cpu_has_its_numbers_wherever_it_stands() -> None:
    target = Target.parse("arm-neon+dotprod cpu=cortex-a76")
    assert (target.l1d_bytes, target.l2_bytes, target.l3_bytes) == (64 << 10, 512 << 10, 2 << 20)
    assert str(target) == "arm-neon+dotprod cpu=cortex-a76"
    changed = Target.parse("arm-neon l1d=48K cpu=cortex-a76")
    assert changed == Target.parse("arm-neon cpu=cortex-a76 l1d=48K")
    assert changed.l1d_bytes == 48 << 10
    assert str(changed) == "arm-neon cpu=cortex-a76 l1d=48K"
    # A CPU of another architecture says nothing about this one.
    assert Target.parse("x86-64-v3 cpu=cortex-a76").l1d_bytes == 32 << 10


@pytest.mark.parametrize("cpu", sorted(CPUS))
def test_every_named_cpu_is_one_of_llvm(cpu: str) -> None:
    level = "arm-neon" if CPUS[cpu].arch == "aarch64" else "x86-64-v3"
    machine = Machine(Target.parse(f"{level} cpu={cpu}"))
    assert "ret" in machine.assembly("define void @f() { ret void }")


def test_the_public_function() -> None:
    assert tc.target("arm-neon cpu=apple-m1").line_bytes == 128  # type: ignore[operator]
    assert str(tc.target("generic-c99")) == "generic-c99"  # type: ignore[operator]
    with pytest.raises(UnsupportedError, match="known: host, generic-c99, generic, x86-64-v2"):
        tc.target("arm")  # type: ignore[operator]
    with pytest.raises(UnsupportedError, match="known: bf16, dotprod"):
        tc.target("arm-neon+avx2")  # type: ignore[operator]


def test_the_text_shows_what_differs() -> None:
    text = "x86-64-v4+avx512bf16+avx512vnni cpu=znver5 cores=8 l1d=48K l2=1536K l3=32M"
    assert str(Target.parse(text)) == text
    # 1 MiB is the level's own size, and the order of features does not matter.
    assert str(Target.parse("x86-64-v4+avx512vnni+avx512bf16 l2=1024K")) == (
        "x86-64-v4+avx512bf16+avx512vnni"
    )


def test_a_target_is_frozen() -> None:
    target = Target.parse("x86-64-v3")
    with pytest.raises(FrozenInstanceError):
        target.cores = 3  # type: ignore[misc]  # that it is refused is what is tested


@pytest.mark.parametrize(
    ("name", "bits", "registers", "lanes32"),
    [
        ("generic", 128, 16, 4),
        ("x86-64-v2", 128, 16, 4),
        ("x86-64-v3", 256, 16, 8),
        ("x86-64-v4", 512, 32, 16),
        ("arm-neon", 128, 32, 4),
    ],
)
def test_vectors_of_each_level(name: str, bits: int, registers: int, lanes32: int) -> None:
    target = Target.parse(name)
    assert (target.vector_bits, target.vector_registers) == (bits, registers)
    assert target.vector_lanes(32) == lanes32
    assert target.vector_lanes(8) == 4 * lanes32
    assert target.vector_lanes(1024) == 1


def test_has_covers_the_level_and_the_extras() -> None:
    target = Target.parse("x86-64-v3+avxvnni")
    assert target.has("avx2")
    assert target.has("avxvnni")
    assert not target.has("avx512f")
    assert target == Target.parse("x86-64-v3+avxvnni+avx2")


def test_llvm_names() -> None:
    v4 = Target.parse("x86-64-v4+avx512vnni")
    assert v4.llvm_triple == "x86_64-unknown-linux-gnu"
    assert v4.llvm_cpu == "x86-64-v4"
    assert {"+avx512vnni", "+avx512f", "+fma"} <= set(v4.llvm_features.split(","))
    assert v4.llvm_features.endswith(",-prefer-256-bit")
    assert "prefer-256-bit" not in Target.parse("x86-64-v3").llvm_features
    assert Target.parse("x86-64-v4 cpu=znver5").llvm_cpu == "znver5"
    arm = Target.parse("arm-neon+dotprod")
    assert (arm.llvm_triple, arm.llvm_cpu) == ("aarch64-unknown-linux-gnu", "generic")
    assert arm.llvm_features == "+dotprod,+neon"


@pytest.mark.parametrize(
    ("machine", "triple", "cpu"),
    [
        ("x86_64", "x86_64-unknown-linux-gnu", "x86-64"),
        ("aarch64", "aarch64-unknown-linux-gnu", "generic"),
        ("riscv64", "riscv64-unknown-linux-gnu", "generic"),
    ],
)
def test_generic_runs_where_it_is(
    monkeypatch: pytest.MonkeyPatch, machine: str, triple: str, cpu: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    target = Target.parse("generic")
    assert (target.llvm_triple, target.llvm_cpu, target.llvm_features) == (triple, cpu, "")


def make_machine(root: Path, cpuinfo: str, siblings: list[str]) -> Path:
    """A folder that looks like the root of a machine with one CPU for each of `siblings`."""
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(cpuinfo)
    for number, listed in enumerate(siblings):
        cpu = root / f"sys/devices/system/cpu/cpu{number}"
        (cpu / "topology").mkdir(parents=True)
        (cpu / "topology/thread_siblings_list").write_text(listed + "\n")
        for index, (level, kind, size) in enumerate(
            [("1", "Data", "48K"), ("1", "Instruction", "96K"), ("2", "Unified", "2048K")]
        ):
            folder = cpu / f"cache/index{index}"
            folder.mkdir(parents=True)
            (folder / "level").write_text(level + "\n")
            (folder / "type").write_text(kind + "\n")
            (folder / "size").write_text(size + "\n")
            (folder / "coherency_line_size").write_text("128\n")
    return root


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (V4_FLAGS, "x86-64-v4"),
        (V4_FLAGS.replace("avx512vl", ""), "x86-64-v3"),
        (V3_FLAGS.replace(" fma", ""), "x86-64-v2"),
        (V3_FLAGS.replace("ssse3", ""), "generic"),
        ("", "generic"),
    ],
)
def test_the_best_level_that_the_flags_allow(tmp_path: Path, flags: str, level: str) -> None:
    root = make_machine(tmp_path, f"processor : 0\nflags\t\t: {flags}\n", ["0"])
    assert host(root, "x86_64", [0]).level == level


def test_extras_are_those_that_the_flags_name(tmp_path: Path) -> None:
    flags = f"flags\t\t: {V4_FLAGS} avx512_bf16 avx512_vnni sha_ni\n"
    target = host(make_machine(tmp_path, flags, ["0"]), "x86_64", [0])
    assert target.features == ("avx512bf16", "avx512vnni")
    assert Target.parse(str(target)) == target


def test_a_feature_must_be_on_every_core(tmp_path: Path) -> None:
    both = f"flags\t\t: {V4_FLAGS}\n\nflags\t\t: {V3_FLAGS}\n"
    assert host(make_machine(tmp_path, both, ["0"]), "x86_64", [0]).level == "x86-64-v3"


def test_arm_from_its_own_feature_line(tmp_path: Path) -> None:
    line = "Features\t: fp asimd evtstrm asimdhp asimddp i8mm\n"
    target = host(make_machine(tmp_path, line, ["0"]), "aarch64", [0])
    assert str(target) == "arm-neon+dotprod+fullfp16+i8mm l1d=48K l2=2M line=128"


def test_caches_and_physical_cores(tmp_path: Path) -> None:
    root = make_machine(tmp_path, f"flags : {V3_FLAGS}\n", ["0-1", "0-1", "2-3", "2-3"])
    target = host(root, "x86_64", [0, 1, 2, 3])
    assert target.cores == 2
    assert (target.l1d_bytes, target.l2_bytes, target.line_bytes) == (48 << 10, 2 << 20, 128)
    assert target.l3_bytes == LEVELS["x86-64-v3"].l3
    assert host(root, "x86_64", [1]).cores == 1


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000", 4), ("200000 100000", 2), ("250000 100000", 2), ("5000 100000", 1), ("?", 4)],
)
def test_a_container_s_share_of_the_cpus(tmp_path: Path, text: str, cores: int) -> None:
    root = make_machine(tmp_path, f"flags : {V3_FLAGS}\n", ["0", "1", "2", "3"])
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/cpu.max").write_text(text + "\n")
    assert host(root, "x86_64", range(4)).cores == cores


def test_a_machine_that_tells_nothing_is_generic(tmp_path: Path) -> None:
    assert str(host(tmp_path, "x86_64", [0])) == "generic"
    assert str(host(tmp_path, "mips", [0, 1, 2])) == "generic cores=3"


def test_host_means_this_machine() -> None:
    here = Target.parse("host")
    assert here == host()
    assert here == Target.parse(str(here))
    assert 1 <= here.cores <= (os.cpu_count() or 1)
    assert Target.parse("host cores=5").cores == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "x87",
            "'x87': target 'x87': unknown target; known: host, generic-c99, generic, x86-64-v2, "
            "x86-64-v3, x86-64-v4, arm-neon",
        ),
        ("", "'': target '': unknown target; known: host, generic-c99, generic,"),
        ("x86-64-v3+neon", "'+neon': .*: unknown feature of x86-64-v3; known: avxvnni"),
        ("generic+fma", "'+fma': .*: unknown feature of generic; known: none"),
        ("x86-64-v3 colour=3", "'colour': .*: unknown key; known: cpu, vector, registers, cores,"),
        ("x86-64-v3 cores", "'cores': .*: expected each key=value once; known: cpu"),
        ("x86-64-v3 cores=1 cores=2", "'cores=2': .*: expected each key=value once"),
        (
            "x86-64-v3 cores=0",
            "'cores=0': .*: not a usable number; known: an integer of at least 1",
        ),
        ("x86-64-v3 cores=2K", "'cores=2K': .*: not a usable number"),
        ("x86-64-v3 l2=1G", "'l2=1G': .*: not a usable number; .*optionally with K or M"),
        ("x86-64-v3 cpu=", "'cpu=': .*: not a CPU name"),
    ],
)
def test_bad_text_names_the_thing_and_what_is_known(text: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message.replace("+", r"\+")):
        Target.parse(text)
