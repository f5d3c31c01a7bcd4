"""Targets: what a program is compiled for, as one frozen value that is written and read as text.

A target is a level (a row of `LEVELS`), extra features (rows of `FEATURES`) and the numbers that
schedules are chosen by: vector width, registers, cache sizes, cores. Its text names the level, the
CPU if it is for one (a row of `CPUS` gives its numbers), and whatever differs from these rows, so
that `Target.parse(str(t)) == t`:

    x86-64-v4+avx512bf16+avx512vnni cores=2 l1d=48K l2=1M l3=32M

`Target.parse("host")` looks at this machine and gives a concrete target; a feature that the
operating system does not report is not assumed. The facts of each target are in the tables of
`tc.target_tables`. This module can be called: `tc.target("arm-neon")` is `Target.parse`. It must
not import anything but the standard library and those: no LLVM, no NumPy, no torch.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from tc.errors import UnsupportedError, describe
from tc.frozen import frozen
from tc.target_tables import CPUS, FEATURES, LEVELS

_K, _M = 1 << 10, 1 << 20

# Where Linux's name for a feature is not LLVM's. sse3 is "pni" for historical reasons.
_KERNEL_FLAGS = {
    "sse3": "pni",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "sahf": "lahf_lm",
    "bmi": "bmi1",
    "lzcnt": "abm",
    "neon": "asimd",
}
_ARCH_OF_MACHINE = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_TRIPLES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
_CPU_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# Key in the text, field, whether K and M are accepted, least value.
_NUMBERS = (
    ("vector", "vector_bits", False, 64),
    ("registers", "vector_registers", False, 4),
    ("cores", "cores", False, 1),
    ("l1d", "l1d_bytes", True, 1024),
    ("l2", "l2_bytes", True, 0),
    ("l3", "l3_bytes", True, 0),
    ("line", "line_bytes", True, 16),
)


@frozen
class Target:
    """A machine to compile for: frozen, hashable, equal to what its text parses to.

    Make one with `Target.parse`, which checks everything; `dataclasses.replace` changes a field.

    Attributes:
        level: a name in `LEVELS`.
        arch: "x86_64", "aarch64" or "generic".
        cpu: the LLVM name of an exact CPU, or "" for the level's own.
        features: names in `FEATURES` beyond the level, sorted, each once.
        vector_bits, vector_registers: width and number of the vector registers.
        l1d_bytes, l2_bytes, l3_bytes: cache sizes that one core can use; 0 where there is none.
        cores: physical cores that a program may use.
        line_bytes: size of a cache line.
    """

    level: str
    arch: str
    cpu: str
    features: tuple[str, ...]
    vector_bits: int
    vector_registers: int
    l1d_bytes: int
    l2_bytes: int
    l3_bytes: int
    cores: int
    line_bytes: int

    @staticmethod
    def parse(text: str) -> Target:
        """Read a target from text: ``level[+feature]... [cpu=NAME] [key=number]...``.

        "host" stands for the level and the numbers of this machine; options after it override.

        Raises:
            UnsupportedError: an unknown level, feature, key or value; the message lists the
                known ones.
        """
        words = text.split()
        name, *extras = words[0].split("+") if words else [""]
        base = host() if name == "host" else _from_level(name, text)
        target = _with_features(base, extras, text)
        seen: set[str] = set()
        # The numbers of a CPU are where others start from, wherever it stands.
        for word in sorted(words[1:], key=lambda w: not w.startswith("cpu=")):
            key, equals, value = word.partition("=")
            if not equals or key in seen:
                raise _unknown(word, text, "expected each key=value once", _known_keys())
            seen.add(key)
            target = _with_option(target, key, value, text)
        return target

    def __str__(self) -> str:
        """The text that `parse` reads back to an equal target."""
        row = _of_cpu(_from_level(self.level, self.level), self.cpu)
        words = ["+".join((self.level, *self.features))]
        if self.cpu:
            words.append(f"cpu={self.cpu}")
        for key, field, scaled, _ in _NUMBERS:
            value = getattr(self, field)
            if value != getattr(row, field):
                words.append(f"{key}={_size_text(value) if scaled else value}")
        return " ".join(words)

    def vector_lanes(self, dtype_bits: int) -> int:
        """How many elements of `dtype_bits` bits a vector register holds, at least 1."""
        return max(1, self.vector_bits // dtype_bits)

    def has(self, feature: str) -> bool:
        """Whether the level guarantees `feature` (LLVM's name) or the target adds it."""
        return feature in self.features or feature in LEVELS[self.level].implies

    @property
    def fuses(self) -> bool:
        """Whether an instruction multiplies and adds with a single rounding."""
        return self.has("fma") or self._native_arch == "aarch64"

    @property
    def llvm_triple(self) -> str:
        """LLVM's triple; a generic target runs on whatever this process runs on."""
        return _TRIPLES.get(self._native_arch, f"{platform.machine().lower()}-unknown-linux-gnu")

    @property
    def llvm_cpu(self) -> str:
        """LLVM's CPU name: the exact one if given, else the level's."""
        if self.cpu:
            return self.cpu
        if self.level == "generic" and self._native_arch == "x86_64":
            return "x86-64"  # LLVM's "generic" on x86-64 would be a 32-bit-era tuning
        return LEVELS[self.level].llvm_cpu

    @property
    def llvm_features(self) -> str:
        """LLVM's feature string: everything promised is spelled out, as "+avx2,+fma".

        With 512-bit vectors LLVM's habit of splitting them into halves is turned off.
        """
        names = [f"+{name}" for name in sorted({*LEVELS[self.level].implies, *self.features})]
        if self.arch == "x86_64" and self.vector_bits >= 512:
            names.append("-prefer-256-bit")
        return ",".join(names)

    @property
    def _native_arch(self) -> str:
        return _machine_arch(platform.machine()) if self.arch == "generic" else self.arch


def host(
    root: Path = Path("/"), machine: str | None = None, cpus: Iterable[int] | None = None
) -> Target:
    """The target of this machine, from `/proc/cpuinfo` and `/sys/devices/system/cpu`.

    What cannot be read keeps the value of the level's row; with no readable feature list the
    level is "generic".

    Args:
        root: folder that holds `proc` and `sys` (another one in tests).
        machine: as `platform.machine()` names it; default: this machine.
        cpus: numbers of the logical CPUs that may be used; default: those of this process.
    """
    arch = _machine_arch(machine or platform.machine())
    flags = _kernel_flags(root / "proc/cpuinfo")
    level = LEVELS["generic"]
    for row in LEVELS.values():  # ordered: the last one of this machine that fits is the best
        if row.arch == arch and all(_KERNEL_FLAGS.get(f, f) in flags for f in row.implies):
            level = row
    features = [f.name for f in FEATURES.values() if level.name in f.levels]
    target = replace(
        _from_level(level.name, "host"),
        features=tuple(sorted(f for f in features if FEATURES[f].kernel_flag in flags)),
    )
    usable = sorted(_usable_cpus() if cpus is None else set(cpus)) or [0]
    system = root / "sys/devices/system/cpu"
    cores = min(_physical_cores(system, usable), _quota(root / "sys/fs/cgroup/cpu.max"))
    caches = _caches(system / f"cpu{usable[0]}/cache")
    return _with_numbers(target, {"cores": cores, **caches})


def _from_level(name: str, text: str) -> Target:
    row = LEVELS.get(name)
    if row is None:
        raise _unknown(name, text, "unknown target", ("host", *LEVELS))
    return Target(
        level=row.name,
        arch=row.arch,
        cpu="",
        features=(),
        vector_bits=row.vector_bits,
        vector_registers=row.vector_registers,
        l1d_bytes=row.l1d,
        l2_bytes=row.l2,
        l3_bytes=row.l3,
        cores=1,
        line_bytes=64,
    )


def _with_features(target: Target, names: list[str], text: str) -> Target:
    known = [f.name for f in FEATURES.values() if target.level in f.levels]
    for name in names:
        if name not in known and not target.has(name):
            raise _unknown(f"+{name}", text, f"unknown feature of {target.level}", known)
    extra = {name for name in names if name in known}
    return replace(target, features=tuple(sorted({*target.features, *extra})))


def _with_option(target: Target, key: str, value: str, text: str) -> Target:
    if key == "cpu":
        if not _CPU_NAME.fullmatch(value):
            raise _unknown(f"cpu={value}", text, "not a CPU name", (*CPUS, "LLVM's other names"))
        return _of_cpu(target, value)
    for name, field, scaled, least in _NUMBERS:
        if key == name:
            number = _number(value, scaled)
            if number is None or number < least:
                suffix = ", optionally with K or M" if scaled else ""
                expected = f"an integer of at least {least}{suffix}"
                raise _unknown(f"{key}={value}", text, "not a usable number", (expected,))
            return _with_numbers(target, {field: number})
    raise _unknown(key, text, "unknown key", _known_keys())


def _of_cpu(target: Target, name: str) -> Target:
    """The target on a CPU of that name, with the CPU's numbers where they are known."""
    target = replace(target, cpu=name)
    row = CPUS.get(name)
    if row is None or row.arch != target.arch:
        return target
    return replace(target, l1d_bytes=row.l1d, l2_bytes=row.l2, l3_bytes=row.l3, line_bytes=row.line)


def _with_numbers(target: Target, numbers: Mapping[str, int]) -> Target:
    return replace(
        target,
        vector_bits=numbers.get("vector_bits", target.vector_bits),
        vector_registers=numbers.get("vector_registers", target.vector_registers),
        cores=numbers.get("cores", target.cores),
        l1d_bytes=numbers.get("l1d_bytes", target.l1d_bytes),
        l2_bytes=numbers.get("l2_bytes", target.l2_bytes),
        l3_bytes=numbers.get("l3_bytes", target.l3_bytes),
        line_bytes=numbers.get("line_bytes", target.line_bytes),
    )


def _known_keys() -> tuple[str, ...]:
    return ("cpu", *(row[0] for row in _NUMBERS))


def _unknown(what: str, text: str, why: str, known: Iterable[str]) -> UnsupportedError:
    listed = ", ".join(known) or "none"
    return UnsupportedError(
        describe(repr(what), where=f"target {text!r}", why=why, way_out=f"known: {listed}")
    )


def _number(text: str, scaled: bool) -> int | None:
    match = re.fullmatch(r"([0-9]{1,12})([KM]?)", text)
    if match is None or (match[2] and not scaled):
        return None
    return int(match[1]) * {"": 1, "K": _K, "M": _M}[match[2]]


def _size_text(size: int) -> str:
    if size and size % _M == 0:
        return f"{size // _M}M"
    return f"{size // _K}K" if size and size % _K == 0 else str(size)


def _machine_arch(machine: str) -> str:
    return _ARCH_OF_MACHINE.get(machine.lower(), "generic")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""  # not Linux, or a sandbox without this file: the caller keeps its default


def _kernel_flags(cpuinfo: Path) -> frozenset[str]:
    """The features that every CPU listed has: cores of one machine may differ."""
    lines = re.findall(r"^(?:flags|Features)[ \t]*:(.*)$", _read(cpuinfo), re.MULTILINE)
    common = [frozenset(line.split()) for line in lines]
    return frozenset.intersection(*common) if common else frozenset()


def _usable_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _physical_cores(system: Path, cpus: list[int]) -> int:
    """How many cores `cpus` lie on: two hardware threads of one core count once."""
    siblings = [_read(system / f"cpu{n}/topology/thread_siblings_list") for n in cpus]
    return len({listed or f"cpu{n}" for n, listed in zip(cpus, siblings, strict=True)})


def _quota(cpu_max: Path) -> int:
    """Whole CPUs' worth of time that a container is allowed, at least 1; huge if unlimited.

    More threads than that would be stopped in turn while the others wait for them at a barrier.
    """
    match _read(cpu_max).split():
        case [quota, period] if quota.isdecimal() and period.isdecimal() and int(period):
            return max(1, int(quota) // int(period))
    return 1 << 20


def _caches(folder: Path) -> dict[str, int]:
    """Cache sizes and line size in bytes, by the field of `Target` that they belong to."""
    found: dict[str, int] = {}
    for index in sorted(folder.glob("index[0-9]*")):
        level, kind = _read(index / "level"), _read(index / "type")
        size = _number(_read(index / "size"), scaled=True)
        if size and kind in ("Data", "Unified") and level in ("1", "2", "3"):
            found[f"l{level}d_bytes" if level == "1" else f"l{level}_bytes"] = size
        line = _number(_read(index / "coherency_line_size"), scaled=False)
        if line and kind in ("Data", "Unified"):
            found["line_bytes"] = line
    return found


class _Callable(types.ModuleType):
    """This module as the function that `tc.target("arm-neon")` calls."""

    def __call__(self, text: str) -> Target:
        """The target that `text` names, see `Target.parse`."""
        return Target.parse(text)


sys.modules[__name__].__class__ = _Callable
