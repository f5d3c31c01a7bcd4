"""What compiling leaves behind is given back, and compiling goes on to work."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import tc
from tc import te
from tc.codegen.llvm import resident


def resident_code() -> int:
    """KiB of the executable part of LLVM's library that are in memory."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            inside = rest[0] == "r-xp" and resident._LIBRARY in line
        elif inside and first == "Rss:":
            total += int(rest[0])
    return total


def product(factor: float) -> float:
    """Something that is compiled anew for each factor."""
    a = te.placeholder((1,))
    f = tc.build(te.schedule(te.compute((1,), lambda i: a[i] * factor)), target="host")
    return float(np.asarray(f(np.array([21.0], np.float32))).item())


@pytest.mark.skipif(sys.platform != "linux", reason="the pages of a process are looked at in /proc")
def test_code_of_the_compiler_leaves_memory_and_comes_back() -> None:
    assert product(2.0) == 42.0
    before = resident_code()
    resident.release()
    assert resident_code() < before / 2
    assert product(3.0) == 63.0


def test_a_system_without_such_calls_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "_functions", lambda: (None, None))
    resident.release()
    monkeypatch.setattr(resident, "_MAPS", Path("/nowhere/maps"))
    assert resident._code() == []
