"""Records in `tc.compile`: which are used, what `explain` says of them, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tc
from tc.autotune import records
from tc.autotune.database import Database
from tc.autotune.rows import OK, PREDICTED, Context, Trial, Versions, target_row
from tc.autotune.space import Space
from tc.autotune.workload import (
    checked_sizes,
    key_of,
    key_of_text,
    loops_of,
    row_of,
    sizes_of,
    sizes_text,
)
from tc.device.physical import cpu_name
from tc.errors import TuningError
from tc.ir.expr import Sym
from tc.pipeline import Chosen, Workload, default_of
from tc.schedule.step import Schedule
from tc.target import Target
from tests.autotune.conftest import TEXT

HOST = Target.parse("host")


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.linear = torch.nn.Linear(24, 40)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(x))


X = torch.linspace(-1, 1, 5 * 24).reshape(5, 24)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    """The product, as the pipeline asks for a schedule of it."""
    seen: list[Workload] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TC_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(records.Records, "__call__", lambda _, workload: seen.append(workload))
        tc.compile(Small(), example_inputs=(X,), threads=2)
    return next(w for w in seen if w.computation.constants)


@pytest.fixture
def product(asked: Workload, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Workload:
    """That product; what is compiled goes into a folder of the test's own."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("TC_CACHE_DIR", str(folder))
    return asked


def enter(path: Path, workload: Workload, schedule: str, **other: object) -> Context:
    """One trial of a workload that beats the default."""
    key = key_of(workload)
    target = target_row(HOST, str(other.pop("cpu", cpu_name())))
    versions = other.pop("versions", records.versions())
    assert isinstance(versions, Versions)
    row = row_of(workload, key, "linear", "contraction")
    context = Context(row.hash, target.fingerprint, 2, sizes_text([5]), versions)
    with Database.open(path) as database:
        database.put_target(target)
        database.put_workload(row)
        trial = Trial(schedule, "", OK, ratio=0.5, seconds_median=1e-6, default_seconds=2e-6)
        database.put_trial(context, replace(trial, **other))
    return context


def other_schedule(workload: Workload) -> str:
    """A legal schedule that is not the default one."""
    steps = default_of(workload).steps
    return str(Schedule(tuple(s for s in steps if s.name not in ("parallel", "prefetch"))))


def compiled(path: Path | None) -> torch.nn.Module:
    return tc.compile(Small(), example_inputs=(X,), threads=2, tuning_db=path)


def sources(model: torch.nn.Module) -> dict[str, str]:
    model(X)
    return {row.schedule: row.source for row in model.explain(1).rows}


def test_a_record_is_used_and_named(product: Workload, path: Path) -> None:
    schedule = other_schedule(product)
    assert schedule != str(default_of(product))
    enter(path, product, schedule)
    model = compiled(path)
    assert sources(model)[schedule] == "tuned (trial 1)"
    assert "tuned (trial 1)" in str(model.explain(1))
    torch.testing.assert_close(model(X), Small()(X))


@pytest.mark.parametrize(
    "other",
    [
        {"cpu": "another processor"},
        {"versions": Versions("0.0.9", "22.1")},
        {"status": "failed"},
        {"ratio": 1.1},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_is_not_for_here_is_not_used(product: Workload, path: Path, other: dict) -> None:
    enter(path, product, other_schedule(product), **other)
    assert set(sources(compiled(path)).values()) == {"default"}


def test_a_prediction_says_so(product: Workload, path: Path) -> None:
    enter(path, product, other_schedule(product), status=PREDICTED)
    assert "predicted (trial 1)" in sources(compiled(path)).values()


def test_weights_of_several_programs_have_the_layout_that_all_can_have(
    product: Workload, path: Path
) -> None:
    space = Space(product)
    wider = space.make({"vectors": max(space.default.asked["vectors"].values)}).schedule
    assert [s for s in wider.steps if s.name == "pack"] != [
        s for s in space.default.schedule.steps if s.name == "pack"
    ]

    def chosen(several: bool) -> Chosen | None:
        found = records.load(path, HOST, cpu_name(), 2)
        return found.of_several(product) if several else found(product)

    enter(path, product, str(wider), status=PREDICTED, ratio=0.5)
    assert chosen(False) == Chosen(wider, "predicted (trial 1)", trusted=False)
    assert chosen(True) is None
    enter(path, product, str(wider), ratio=0.9)
    assert chosen(False) == Chosen(wider, "tuned (trial 1)", trusted=False)
    assert chosen(True) is None
    enter(path, product, other_schedule(product), ratio=0.95)
    same = Chosen(Schedule.parse(other_schedule(product)), "tuned (trial 2)", trusted=False)
    assert chosen(False) == Chosen(wider, "tuned (trial 1)", trusted=False)
    assert chosen(True) == same


def test_a_great_gain_is_worth_a_second_copy(product: Workload, path: Path) -> None:
    space = Space(product)
    wider = space.make({"vectors": max(space.default.asked["vectors"].values)}).schedule
    enter(path, product, str(wider), ratio=records.WORTH_A_COPY)
    found = records.load(path, HOST, cpu_name(), 2).of_several(product)
    assert found == Chosen(wider, "tuned (trial 1)", trusted=False)


@pytest.mark.parametrize(
    "tampered",
    [
        "__import__('os').system('touch /tmp/owned')",
        "split(j, 99999999)",
        "split(nothing, 8)",
        "no_such_step(j)",
        b"split(j, 8)",
        "unroll(j) " * 300,
    ],
)
def test_a_tampered_record_is_warned_of_and_not_used(
    product: Workload, path: Path, tampered: str
) -> None:
    enter(path, product, tampered)
    with pytest.warns(RuntimeWarning, match="a record is not used: tuned"):
        model = compiled(path)
    assert set(sources(model).values()) == {"default"}
    torch.testing.assert_close(model(X), Small()(X))


def test_a_program_is_found_again_while_records_stay(product: Workload, path: Path) -> None:
    enter(path, product, other_schedule(product))
    assert compiled(path).stats()["program_hits"] == 0
    again = compiled(path)
    assert again.stats()["program_hits"] == 1
    assert "tuned (trial 1)" in sources(again).values()
    enter(path, product, str(default_of(product)), ratio=0.4)
    assert compiled(path).stats()["program_hits"] == 0


def test_the_environment_names_the_users_file(
    product: Workload, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(path, product, other_schedule(product))
    monkeypatch.setenv("TC_TUNING_DB", str(path))
    assert "tuned (trial 1)" in sources(compiled(None)).values()


def test_the_cache_folder_has_a_file_of_its_own(product: Workload, tmp_path: Path) -> None:
    enter(tmp_path / "cache/tuning.db", product, other_schedule(product))
    assert "tuned (trial 1)" in sources(compiled(None)).values()
    file = tmp_path / "cache/tuning.db"
    whole = file.read_bytes()
    for damaged in (b"garbage", whole[:100] + b"\xff" * (len(whole) - 100)):
        file.write_bytes(damaged)
        with pytest.warns(RuntimeWarning, match="tuning records are not used"):
            model = compiled(None)
        assert set(sources(model).values()) == {"default"}


@pytest.mark.usefixtures("product")
def test_a_file_without_tables_has_no_records(path: Path) -> None:
    path.touch()  # as a process leaves it that is killed in making it
    assert set(sources(compiled(path)).values()) == {"default"}
    assert tc.tuned_devices(path) == []


def test_shipped_records_come_last(
    product: Workload, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shipped" / HOST.level
    folder.mkdir(parents=True)
    have, schedule = records.versions(), other_schedule(product)
    row = {"workload": key_of(product).hash, "schedule": schedule, "threads": 2, "best": True,
           "tc": have.tc, "llvm": have.llvm, "status": "ok", "number": 3}  # fmt: skip
    head = {"target": {"target": HOST.level}}
    shard = folder / "contraction.jsonl"
    workload = {"hash": key_of(product).hash, "text": key_of(product).text}
    shard.write_text("\n".join(map(json.dumps, (head, workload, row))))
    monkeypatch.setattr(records, "SHIPPED", tmp_path / "shipped")
    assert sources(compiled(None))[schedule] == "shipped (contraction.jsonl:3)"
    enter(path, product, schedule)
    assert sources(compiled(path))[schedule] == "tuned (trial 1)"
    shard.write_text("{")
    with pytest.warns(RuntimeWarning, match="are not used"):
        compiled(None)


def test_a_named_file_must_be_there_and_sound(path: Path) -> None:
    with pytest.raises(TuningError, match="no such file"):
        compiled(path)
    path.write_text("garbage")
    with pytest.raises(TuningError, match="not a tuning database"):
        compiled(path)


def test_symbols_are_numbered_whatever_they_are_called() -> None:
    one = key_of_text(TEXT, "v")
    other = key_of_text(TEXT.replace("M", "batch"), "v")
    assert one.hash == other.hash
    assert (one.symbols, other.symbols) == (("M",), ("batch",))
    assert one.hash != key_of_text(TEXT, "c").hash
    taken = key_of_text(TEXT.replace("for i in", "for n0 in").replace("[i, ", "[n0, "), "v")
    assert "nn0" in taken.text
    assert key_of_text(str(loops_of(taken.text)), "v").hash == taken.hash


def test_sizes_are_text() -> None:
    assert sizes_of(sizes_text([1, 128])) == (1, 128)
    assert sizes_of("") == ()
    for bad in ("n0=", "n1=5", "n0=1 x", "n0=1  n1=2", "n0=-1"):
        with pytest.raises(TuningError, match="sizes"):
            sizes_of(bad)


def test_places_stay_below_the_sizes_that_they_are_in() -> None:
    symbols = (Sym("n0", 1, 1 << 31), Sym("n1", 0, (1 << 31) - 1))
    assert checked_sizes(symbols, (40, 39)) == ((1, 0), (7, 6), (34, 33))
    assert checked_sizes(symbols, (6, 5)) == ((1, 0),)
    assert checked_sizes(symbols, (6, 0)) == ((1, 0),)
    assert checked_sizes((), ()) == ()


def test_no_text_is_a_workload_that_is_none() -> None:
    for bad in ("", "x + y", "def kernel(", "x" * ((1 << 20) + 1), b"def"):
        with pytest.raises(TuningError, match="workload"):
            loops_of(bad)
