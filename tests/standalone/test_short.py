"""Products of short numbers by the instructions of ARM, emulated: as C and as LLVM's code."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tc
from tc.standalone.running import Exported
from tc.target import Target
from tests.standalone.exported import need

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="ARM is another machine for x86 alone"
)
ROWS, DEPTH = 7, 68


def model() -> tuple[nn.Module, torch.Tensor]:
    """A product of groups of unequal length, and rows of which one is far from 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made, x = nn.Linear(DEPTH, 20).eval(), torch.randn(ROWS, DEPTH)
    x[1] += 40
    return made, x


def exact(made: Any, x: torch.Tensor, bits: int) -> np.ndarray:
    """The product of what is left of both sides when they are shortened to integers."""
    most, levels = 127.0, 2.0**bits - 1
    out = np.zeros((len(x), made.out_features))
    for first in range(0, DEPTH, 64):
        a = x[:, first : first + 64].double().numpy()
        w = made.weight[:, first : first + 64].detach()
        scale = (w.abs().amax(1, keepdim=True) / most).bfloat16().double().numpy()
        whole = np.clip(np.round(w.double().numpy() / scale), -most, most)
        low, high = np.minimum(a.min(1), 0)[:, None], np.maximum(a.max(1), 0)[:, None]
        step = (high - low) / levels
        zero = np.round(-low / step)
        level = np.clip(np.round(a / step) + zero, 0, levels)
        out += (level - zero) * step @ (whole * scale).T
    return out + made.bias.detach().double().numpy()


@pytest.mark.parametrize(
    ("target", "precision", "bits", "dynamic"),
    [
        ("arm-neon", "int8", 7, True),
        ("arm-neon+dotprod", "int8", 7, False),
        ("arm-neon+bf16+i8mm", "int8", 8, False),
        ("arm-neon+bf16+i8mm", "bf16", 0, False),
    ],
)
def test_short_numbers_under_qemu(
    tmp_path: Path, target: str, precision: str, bits: int, dynamic: bool
) -> None:
    need("make", "aarch64-linux-gnu-gcc", "qemu-aarch64")
    made, x = model()
    options: dict[str, Any] = {"target": target, "precision": precision, "dynamic": dynamic}
    compiled: Any = tc.compile(made, example_inputs=(x,), **options)
    wanted = exact(made, x, bits) if bits else made(x).detach().double().numpy()
    found = []
    for folder, export in (("c", compiled.export_c), ("llvm", compiled.export_object)):
        export(tmp_path / folder)
        exported = Exported(tmp_path / folder, Target.parse(target), 0, 0, ("output",))
        exported.build(flags="-O0")
        found.append(exported.run({"input": x.numpy()})["output"])
    near = 2e-5 if bits else 2e-2
    np.testing.assert_allclose(found[0], wanted, rtol=near, atol=near * np.abs(wanted).max())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6, atol=1e-5)
