"""Rotations of pairs of features written with complex numbers."""

from __future__ import annotations

import torch

import tc


class Rotated(torch.nn.Module):
    """Each pair turned by an angle that grows with its place, and scaled."""

    def forward(self, x: torch.Tensor, angles: torch.Tensor) -> tuple[torch.Tensor, ...]:
        turns = torch.polar(torch.ones_like(angles), angles) * 0.5
        pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
        made = pairs * turns.unsqueeze(0)
        return torch.view_as_real(made).flatten(2), made.imag


def test_rotated_pairs() -> None:
    compiled = tc.compile(Rotated(), fallback="error")
    for batch, length in ((2, 7), (1, 1), (3, 17)):
        args = torch.randn(batch, length, 8), torch.randn(length, 4)
        for found, wanted in zip(compiled(*args), Rotated()(*args), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert compiled.stats()["compilations"] == 1
