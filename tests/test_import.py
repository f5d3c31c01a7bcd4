"""`import tc`: fast, light, and the whole public API behind it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tc

HEAVY = ("torch", "transformers", "llvmlite", "xgboost", "numpy", "rich", "click", "sqlite_utils")


def run_python(code: str) -> str:
    """What a fresh interpreter prints when it runs `code`."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_import_takes_under_three_tenths_of_a_second() -> None:
    code = "import time; t = time.process_time(); import tc; print(time.process_time() - t)"
    # Time of this process alone, the least of three: a busy machine only makes it more.
    assert min(float(run_python(code)) for _ in range(3)) < 0.3


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, tc, tc.target; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert run_python(code) == "[]"


def test_a_public_name_is_imported_at_first_use() -> None:
    code = (
        "import sys, tc; before = 'tc.target' in sys.modules; tc.Target; "
        "print(before, 'tc.target' in sys.modules, 'Target' in vars(tc))"
    )
    assert run_python(code) == "False True True"


@pytest.mark.parametrize("name", tc.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert name in dir(tc)
    assert getattr(tc, name) is getattr(tc, name)


def test_an_unknown_name_is_an_attribute_error_that_lists_the_public_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'compyle'; public: .*compile"):
        tc.compyle  # noqa: B018  # reading the attribute is the test
