"""Features: the right numbers for loops that can be counted by hand, and a list of fixed length."""

from __future__ import annotations

import pytest

from tc import te
from tc.autotune.features import NAMES, Work, device_features, features, slog
from tc.autotune.nests import Nest
from tc.autotune.rows import target_row
from tc.autotune.sizes import moving, spans, value_of
from tc.autotune.space import Space
from tc.ir.parser import parse_expr
from tc.target import Target
from tests.autotune.workloads import WORKLOADS, product, workload

V3 = Target.parse("x86-64-v3 cores=2 l3=32M")
WORK = Work(1e6, 1e5)


def named(build, rows: int = 128, work: Work = WORK, **knobs: int) -> dict[str, float]:
    workload = build(V3)
    candidate = Space(workload).make(knobs)
    sizes = {s.name: rows for s in workload.lowered.func.symbols}
    values = features(candidate.func, sizes, V3, 2, device_features(V3, 2, None), work)
    return dict(zip(NAMES, values, strict=True))


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_kernel_has_as_many(name: str) -> None:
    assert len(named(WORKLOADS[name])) == len(NAMES)


def test_the_products_of_a_gemm_are_counted() -> None:
    found = named(product(None, 64, 48), 32, mr=4, vectors=3, unroll_k=4)
    assert 2 ** found["products"] - 1 == pytest.approx(32 * 64 * 48 / 8, rel=0.02)
    assert 2 ** found["bodies"] >= 4 * 3 * 4
    assert found["lanes"] == 8
    # Of each step, three vectors of b serve four rows, and four elements of a three vectors.
    steps = 32 * 48 * 64 / (4 * 24)
    assert 2 ** found["vector_loads"] - 1 == pytest.approx(3 * steps, rel=0.1)
    assert 2 ** found["broadcast_loads"] - 1 == pytest.approx(4 * steps, rel=0.1)


def test_more_rows_in_a_tile_want_more_registers_and_fewer_loads() -> None:
    low = named(product(None, 64, 48), mr=1, vectors=3)
    high = named(product(None, 64, 48), mr=4, vectors=3)
    assert high["pressure"] > low["pressure"]
    assert high["vector_loads"] < low["vector_loads"]


def test_few_sums_wait_for_each_other() -> None:
    few, many = (named(product(None, 64, 48), mr=mr, vectors=2) for mr in (2, 4))
    assert few["chains"] - many["chains"] == pytest.approx(1.0, rel=0.1)
    assert few["core"] > many["core"]


def test_what_finds_no_register_is_written_and_read_again() -> None:
    fits, spills = (named(product(None, 768, 48), mr=4, vectors=n) for n in (3, 4))
    assert (fits["live"], fits["spilled"]) == (1.0, -8.0)
    wide = Nest(products=100.0, steps=10.0, live=20.0)
    assert wide.spills(16) == 80.0
    assert wide.parts(16)[1] > Nest(products=100.0, steps=10.0, live=16.0).parts(16)[1]
    assert spills["live"] <= 1.0  # the space holds no tile that does not fit


def test_rows_a_page_apart_meet_in_one_set_of_the_cache() -> None:
    apart, alike = (named(product(None, k, 48), mr=4, vectors=3)["alike"] for k in (1040, 1024))
    assert alike == slog(4.0)
    assert apart < alike


def test_parts_are_told_by_what_they_are_over_the_least() -> None:
    small, large = (product(None, 768, n) for n in (480, 960))
    one, two = named(small, work=Work(2e6, 1e6)), named(large, work=Work(4e6, 2e6))
    for name in ("units", "moves", "chains", "core"):
        assert one[name] == pytest.approx(two[name], abs=0.02)
    assert named(small, work=Work(2e6, 1e6, cold=True))["cold"] == 1.0


def test_a_block_of_rows_lowers_what_comes_from_afar() -> None:
    build = product(None, 3072, 768)
    whole, blocks = named(build, 4096, kc=0, mc=0), named(build, 4096, kc=0, mc=8)
    assert blocks["l2_traffic"] != whole["l2_traffic"]
    assert whole["unique_bytes"] == blocks["unique_bytes"]


def test_a_device_is_described_by_what_was_measured() -> None:
    from dataclasses import replace

    row = replace(target_row(V3, "cpu"), peak_gflops_core=100.0, bandwidth_core=20.0)
    assert device_features(V3, 2, row)[-3:] == [100.0, 20.0, 5.0]


def test_sizes_without_simplifying() -> None:
    x = parse_expr("min(4, n - i * 4) + (k * 8 + j) % 24")
    assert value_of(x, {"n": 10, "i": 2, "k": 3, "j": 5}) == 2 + 5
    tile = parse_expr("i * 24 + j")
    assert spans(tile, {"j": 24, "k": 9}, {}) == {"j": 23}
    assert spans(tile, {"i": 2, "j": 24}, {"i": 1}) == {"i": 24, "j": 23}
    assert spans(parse_expr("i"), {"i": 1, "j": 9}, {}) == {}
    assert moving([tile, parse_expr("k // 2")], ["k", "j", "l"], {}) == ["j"]


@pytest.mark.parametrize(("streams", "near"), [(1, 1024), (2, 0), (4, 256)])
def test_the_way_in_which_weights_are_read_is_told(streams: int, near: int) -> None:
    knobs = {"mr": 1, "vectors": 3, "unroll_k": 2, "streams": streams, "near": near}
    found = named(product(None, 768, 3072), 1, **knobs)
    assert 2 ** found["places"] == pytest.approx(streams, rel=0.02)
    assert 2 ** found["run"] == pytest.approx(2 * 24 * 4, rel=0.02)  # two rows of a packed tile
    assert found["gap"] == pytest.approx(0, abs=0.1)  # the next ones come right after them
    assert 2 ** found["ahead"] - 1 == pytest.approx(near, rel=0.02)
    assert (found["fetched"] > 0) is bool(near)


def test_rows_that_are_read_in_part_are_told_by_the_gap() -> None:
    x = te.placeholder((64, 4096), name="x")
    k = te.reduce_axis(64)
    made = workload([te.compute((4096,), lambda j: te.sum(x[k, j], axis=k))], [x])
    found = named(made)
    assert 2 ** (found["run"] + found["gap"]) == pytest.approx(4096 * 4, rel=0.02)
