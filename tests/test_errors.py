"""The exception tree, the form of a message, and the settings that raise one."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import tc
from tc import config, errors

KINDS = [
    errors.ScheduleError,
    errors.CompileError,
    errors.UnsupportedError,
    errors.DeviceError,
    errors.TuningError,
    errors.InternalError,
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_tc_error_and_public(kind: type[errors.TcError]) -> None:
    assert kind.__bases__ == (errors.TcError,)
    assert getattr(tc, kind.__name__) is kind
    assert kind.__doc__


@pytest.mark.parametrize("kind", [errors.TcError, *KINDS])
def test_an_error_survives_pickling(kind: type[errors.TcError]) -> None:
    error = kind("loop i: no such loop")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.message == str(again) == str(error)
    assert "loop i: no such loop" in str(again)


def test_an_internal_error_says_whose_fault_it_is() -> None:
    assert str(errors.InternalError("verifier: x is unbound")) == (
        "verifier: x is unbound (a defect of tc: please report it with this message)"
    )


def test_describe_puts_the_four_parts_in_order() -> None:
    full = errors.describe("split", where="loop i", why="not divisible", way_out="use a tail")
    assert full == "split: loop i: not divisible; use a tail"
    assert errors.describe("split", why="not divisible") == "split: not divisible"


def test_config_defaults() -> None:
    read = config.read({})
    assert read.num_threads is None
    assert read.tuning_db is None
    assert read.dump_ir is None
    assert read.debug == 0
    assert read.cache_dir.name == "tc"
    assert config.read({"TC_DEBUG": "", "TC_CACHE_DIR": ""}) == read


def test_config_reads_every_variable_and_creates_nothing(tmp_path: Path) -> None:
    given = {
        "TC_NUM_THREADS": " 3 ",
        "TC_CACHE_DIR": str(tmp_path / "cache"),
        "TC_TUNING_DB": str(tmp_path / "db.sqlite"),
        "TC_DEBUG": "4",
        "TC_DUMP_IR": str(tmp_path / "ir"),
    }
    read = config.read(given)
    assert read == config.Config(3, tmp_path / "cache", tmp_path / "db.sqlite", 4, tmp_path / "ir")
    assert list(tmp_path.iterdir()) == []


def test_config_reads_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TC_NUM_THREADS", "7")
    assert config.read().num_threads == 7


def test_config_expands_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert config.read({"TC_DUMP_IR": "~/ir"}).dump_ir == Path("/somewhere/ir")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("TC_NUM_THREADS", "0", "an integer at least 1"),
        ("TC_NUM_THREADS", "-2", "an integer at least 1"),
        ("TC_NUM_THREADS", "two", "an integer at least 1"),
        ("TC_DEBUG", "5", "an integer from 0 to 4"),
        ("TC_DEBUG", "yes", "an integer from 0 to 4"),
    ],
)
def test_config_rejects_a_bad_number(name: str, value: str, expected: str) -> None:
    with pytest.raises(errors.UnsupportedError) as caught:
        config.read({name: value})
    assert str(caught.value) == (
        f"{name}={value!r}: environment: expected {expected}; "
        f"set {name} to such a number or unset it"
    )


def test_config_rejects_a_path_that_no_system_call_accepts() -> None:
    with pytest.raises(errors.UnsupportedError, match=r"TC_CACHE_DIR.*not a usable path"):
        config.read({"TC_CACHE_DIR": "/tmp/a\0b"})
