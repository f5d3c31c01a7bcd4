"""What the tests of the front end share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where compiled programs go, in a cache folder of the test's own."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("TC_CACHE_DIR", str(cache))
    return cache / "programs"
