"""`tensorc doctor`: what is installed, what the CPU offers, what is missing and how to get it.

Everything is looked at without being imported, but for the self-test, which compiles and runs a
kernel. A package that only an extra needs is optional: that it is missing is no fault.
"""

from __future__ import annotations

import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import click

from tc import __version__
from tc.cli.options import Settings, with_settings
from tc.cli.output import print_json, print_table, step
from tc.errors import CompileError, InternalError, TcError, describe
from tc.frozen import frozen

DISTRIBUTION = "tensorc"
EXTRAS = ("torch", "hf", "tune", "dist", "bench")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*(?:;.*extra\s*==\s*[\"']([a-z]+)[\"'])?")
TOLERANCE = 1e-6  # of the self-test, relative; a multiplication and an exponential stay far below


@frozen
class Check:
    """One line of the report.

    `state` is "ok", "missing" (optional) or "failed"; `way_out` says what to do about it.
    """

    part: str
    name: str
    state: str
    detail: str
    way_out: str = ""


@click.command("doctor")
@with_settings
def command(settings: Settings) -> None:
    """Say what is installed, what the CPU offers and what is missing; try the JIT."""
    checks = [*packages(), *machine(), *cache()]
    with step(settings, "compiling and running a kernel"):
        checks.append(self_test())
    failed = [check for check in checks if check.state == "failed"]
    if settings.json:
        print_json({"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        rows = [(c.part, c.name, c.state, c.detail, c.way_out) for c in checks]
        print_table("", ("", "what", "state", "found", "how to get it"), rows, left=5)
    if failed:
        names = ", ".join(check.name for check in failed)
        error = InternalError if failed[-1].name == "self-test" else CompileError
        raise error(describe("doctor", why=f"failed: {names}", way_out="see the table"))


def packages() -> Iterator[Check]:
    """tc itself, Python, and every requirement of the distribution with its version."""
    yield Check("package", "tc", "ok", f"{__version__} in {Path(__file__).parents[1]}")
    yield Check("package", "Python", "ok", f"{platform.python_version()} at {sys.executable}")
    for name, extra in requirements():
        try:
            yield Check("package", name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            if extra:
                way_out = f"pip install '{DISTRIBUTION}[{extra}]'"
                yield Check("package", name, "missing", f"only for [{extra}]", way_out)
            else:
                yield Check("package", name, "failed", "needed", f"pip install {name}")


def requirements() -> list[tuple[str, str]]:
    """(package, extra or "") of everything that tc can use, read from its own metadata.

    Raises:
        CompileError: tc is not installed as a distribution, so nobody knows what it needs.
    """
    try:
        listed = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        raise CompileError(
            describe(
                f"distribution {DISTRIBUTION}",
                why="not installed: tc was imported from a folder",
                way_out="run `pip install -e .` in that folder",
            )
        ) from None
    found = [match.groups(default="") for text in listed if (match := _REQUIREMENT.match(text))]
    return [(name, extra) for name, extra in found if extra in ("", *EXTRAS)]


def machine() -> Iterator[Check]:
    """The CPU as tc sees it."""
    from tc.device import host_device

    p = host_device().properties
    sizes = (("L1", p.l1d_bytes), ("L2", p.l2_bytes), ("L3", p.l3_bytes))
    caches = ", ".join(f"{name} {size >> 10} KiB" for name, size in sizes if size)
    vectors = f"{p.vector_registers} registers of {p.vector_bits} bits"
    yield Check("machine", "CPU", "ok", f"{p.cpu}, {p.cores} cores")
    yield Check("machine", "target", "ok", p.target)
    yield Check("machine", "vectors", "ok", vectors)
    yield Check("machine", "caches", "ok", caches)
    if p.memory_bytes:
        yield Check("machine", "memory", "ok", f"{p.memory_bytes / (1 << 30):.1f} GiB")


def cache() -> Iterator[Check]:
    """Whether the folder of compiled code can be written to; tc works without it, slower."""
    from tc import config

    settings = config.read()
    folder = settings.cache_dir
    files = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    detail = f"{folder} ({len(files)} files, {sum(files) / 1e6:.1f} MB)"
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        why = error.strerror or str(error)
        yield Check("cache", "folder", "missing", f"{folder}: {why}", "set TC_CACHE_DIR")
        return
    yield Check("cache", "folder", "ok", detail)
    if settings.debug:
        yield Check("cache", "TC_DEBUG", "ok", str(settings.debug))


def self_test(run: Callable[[], float] | None = None) -> Check:
    """Compile a tiny kernel, run it, and compare with NumPy."""
    start = time.perf_counter()
    try:
        error = (run or _kernel_error)()
    except TcError as problem:
        return Check("JIT", "self-test", "failed", problem.message, "report it with this table")
    spent = f"compiled and ran a kernel in {time.perf_counter() - start:.2f} s"
    if not error <= TOLERANCE:  # a NaN fails too
        detail = f"{spent}, but its result is off by {error:.1e}"
        return Check("JIT", "self-test", "failed", detail, "report it with this table")
    return Check("JIT", "self-test", "ok", f"{spent}, relative error {error:.1e}")


def _kernel_error() -> float:
    """The greatest relative error of exp(x) * 2 + 1, of more than one vector and a tail."""
    import numpy as np

    from tc import te
    from tc.api import build

    n = 100
    x = te.placeholder((n,))
    y = te.compute((n,), lambda i: te.exp(x[i]) * 2.0 + 1.0)
    values = np.linspace(-4, 4, n, dtype=np.float32)
    expected = np.exp(values.astype(np.float64)) * 2 + 1
    kernel = build(te.schedule(y), target="host")
    return float(np.max(np.abs(kernel(values) - expected) / expected))
