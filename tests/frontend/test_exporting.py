"""An exported model held against its module, whatever types its inputs and results have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from tc.frontend.exporting import differences


class Twice:
    """An exported model that doubles its input of bf16, which NumPy has as bits."""

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        (bits,) = inputs.values()
        assert bits.dtype == np.uint16
        made = torch.from_numpy(bits).view(torch.bfloat16) * 2
        return {"output": made.view(torch.uint16).numpy()}


class Module(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def test_bf16_is_compared_as_what_it_is() -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    assert differences(Module(), (x,), {}, Twice()) == {"output": 0.0}  # type: ignore[arg-type]
    assert differences(Module(), (), {"x": x}, Twice()) == {"output": 0.0}  # type: ignore[arg-type]
