"""The loops for ARM: which of a kernel's are judged, and by what."""

from __future__ import annotations

import pytest
import torch

from benchmarks import neon
from benchmarks.neon import LEAST, Kernel, Row, main, of_whole_tiles, rows, table
from tc.codegen.assembly.counts import LoopCounts
from tests.standalone.exported import need

SMALL = Kernel("one row", lambda: torch.nn.Linear(48, 96), ((1, 48),), fixed=True)


def row(peak: float, spills: int) -> Row:
    return Row("gemm", "llvm", "cortex-a72", 60, 48, spills, 50.0, peak, "units")


def test_a_loop_is_good_without_spills_and_near_the_peak() -> None:
    assert row(LEAST, 0).good
    assert not row(LEAST - 0.01, 0).good
    assert not row(1.0, 1).good


def test_the_table_marks_what_falls_short() -> None:
    lines = table([row(0.99, 0), row(0.5, 0)], "19").rows
    assert [line[-1] for line in lines] == ["", "short"]
    assert [line[7] for line in lines] == ["99%", "50%"]


def test_a_kernel_is_judged_by_its_whole_tile() -> None:
    need("llvm-mca")
    (found,) = rows(["cortex-a72"], ["llvm"], [SMALL])
    assert (found.kernel, found.cpu, found.fmas) == ("one row", "cortex-a72", 48)
    assert found.good


def test_c_is_judged_by_its_largest_tile() -> None:
    def loop(function: str, fmas: int) -> LoopCounts:
        return LoopCounts(function, (), fmas, fmas, (), 0, 0, 0, 0, 0)

    found = [loop("tile_2x12", 96), loop("tile_6x12_2", 72), loop("kernel_linear", 4)]
    assert of_whole_tiles(found) == found[1:2]
    assert of_whole_tiles(found[2:]) == found[2:]


def test_only_what_a_processor_has_is_looked_at() -> None:
    kernel = next(k for k in neon.KERNELS if k.feature == "dotprod")
    assert kernel.target("cortex-a72") is None
    assert str(kernel.target("neoverse-n1")) == "arm-neon+dotprod cpu=neoverse-n1"


def test_what_is_missing_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(neon, "KERNELS", (SMALL,))
    assert main(["--cpus", "cortex-a72"]) == 1
    assert "install llvm" in capsys.readouterr().err
