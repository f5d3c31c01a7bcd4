"""What the tests of the front end share."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tc.codegen.cache import ObjectCache
from tests.frontend.unscheduled import unscheduled


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels without a schedule, made in a part of the time: where none is what is tested."""
    for name in ("pipeline", "pipeline_of_several"):
        monkeypatch.setattr(f"tc.frontend.model.{name}", unscheduled)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where compiled programs go: a folder of the test's own, so that none is there before.

    Kernels that another test has compiled are found; only whole programs are not.
    """
    cache = tmp_path / "cache"
    monkeypatch.setattr("tc.frontend.recall.ObjectCache", partial(_own_programs, cache))
    return cache / "programs"


def _own_programs(own: Path, _folder: Path, kind: str) -> ObjectCache:
    return ObjectCache(own, kind)


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole cache folder of the test's own, for the processes that it starts too."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TC_CACHE_DIR", str(folder))
    return folder
