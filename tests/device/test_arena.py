"""Where temporaries lie: those in use together never overlap, the others share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tc.device.arena import ALIGN, Block, Lifetime, place

lifetimes = st.builds(
    lambda size, first, length: Lifetime(size, first, first + length),
    st.integers(0, 5000),
    st.integers(0, 20),
    st.integers(0, 10),
)


@given(st.lists(lifetimes, max_size=30))
def test_what_is_in_use_together_does_not_overlap(items: list[Lifetime]) -> None:
    offsets, total = place(items)
    for n, (a, at) in enumerate(zip(items, offsets, strict=True)):
        assert at % ALIGN == 0
        assert at + a.bytes <= total
        for b, other in list(zip(items, offsets, strict=True))[n + 1 :]:
            if a.first <= b.last and b.first <= a.last:
                assert at + a.bytes <= other or other + b.bytes <= at


def test_a_chain_takes_two_places() -> None:
    chain = [Lifetime(1024, n, n + 1) for n in range(50)]
    assert place(chain)[1] == 2048


@pytest.mark.parametrize("size", [1, 4096, 3 << 20])
def test_a_block_is_aligned_and_zero(size: int) -> None:
    block = Block(size)
    assert block.address % ALIGN == 0
    assert bytes(block.view(0, size)) == bytes(size)


def test_small_blocks_ask_for_the_huge_pages_that_they_can_share() -> None:
    blocks = [Block(900_000) for _ in range(4)]
    found, inside = 0, False
    with open("/proc/self/smaps", encoding="utf-8") as maps:
        for line in maps:
            ends, *rest = line.split()
            if "-" in ends and rest and len(rest[0]) == 4:
                first, last = (int(end, 16) for end in ends.split("-"))
                inside = any(first <= b.address < last for b in blocks)
                held = sum(first <= b.address < last for b in blocks)
            elif inside and ends == "VmFlags:" and "hg" in rest:
                found += held
    assert found == len(blocks)


def test_large_blocks_are_private_so_that_they_may_lie_on_huge_pages() -> None:
    block = Block(5 << 20)
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            ends, flags = line.split()[:2]
            first, last = (int(end, 16) for end in ends.split("-"))
            if first <= block.address < last:
                assert flags == "rw-p"
                return
    raise AssertionError("the block is nowhere")
