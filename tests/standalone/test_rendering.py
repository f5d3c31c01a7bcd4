"""Kernels rendered by several processes: the texts that one would make."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tc.device.artifact import KernelInfo
from tc.standalone import rendering
from tc.standalone.rendering import Job, render_all, shares
from tc.target import Target
from tests.device.fake_code import kernel

LOOPS = """\
def k(A: f32[n], B: out f32[n], n: sym[0, 9]):
    for i in range(n):
        assert i < {bound}, "too large"
        B[i] = exp(A[i])
"""


def info(bound: int) -> KernelInfo:
    return replace(kernel("k", "n"), text=LOOPS.format(bound=bound))


@given(st.lists(st.integers(0, 1000)), st.integers(1, 5))
def test_all_is_shared_out_evenly(sizes: list[int], count: int) -> None:
    parts = shares(sizes, count)
    assert sorted(n for part in parts for n in part) == list(range(len(sizes)))
    held = [sum(sizes[n] for n in part) for part in parts]
    assert max(held) - min(held) <= max(sizes, default=0)


@pytest.mark.parametrize("cores", [0, 1, 3])
@pytest.mark.parametrize("forks", [True, False])
def test_texts_are_the_same_whoever_makes_them(
    cores: int, forks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target.parse("arm-neon")
    jobs = [Job(info(n + 1), f"kernel_{n}") for n in range(6)]
    monkeypatch.setattr(rendering, "spare_cores", lambda: 0)
    alone = render_all(jobs, target)
    monkeypatch.setattr(rendering, "spare_cores", lambda: cores)
    monkeypatch.setattr(rendering, "_WORTH", 1)
    if not forks:
        monkeypatch.setattr(os, "fork", _no_room)
    assert render_all(jobs, target) == alone
    assert [each.messages for each in alone] == [("too large",)] * 6


def _no_room() -> int:
    raise BlockingIOError("no room for one more process")
