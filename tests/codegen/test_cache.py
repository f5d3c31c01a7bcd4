"""The cache of compiled objects: hits, damage, and folders that cannot be used."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from tc.codegen.cache import ObjectCache
from tc.codegen.llvm.kernel import compile_func
from tc.ir.parser import parse_func
from tc.target import Target
from tests.codegen.kernels import ADD


def test_what_is_put_is_found(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "new" / "folder")
    assert cache.get("key") is None
    cache.put("key", b"object")
    assert cache.get("key") == b"object"
    assert ObjectCache(tmp_path / "new" / "folder").get("key") == b"object"
    assert (cache.hits, cache.misses) == (1, 1)
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert [p.suffix for p in cache.folder.iterdir()] == [".o"]  # no temporary file is left


@pytest.mark.parametrize("where", [0, 20, 48, 53, -1])
def test_a_damaged_entry_counts_as_missing_and_is_replaced(tmp_path: Path, where: int) -> None:
    cache = ObjectCache(tmp_path)
    cache.put("key", b"object")
    (entry,) = cache.folder.iterdir()
    data = bytearray(entry.read_bytes())
    data[where] ^= 1
    entry.write_bytes(data)
    assert cache.get("key") is None
    cache.put("key", b"anew")
    assert cache.get("key") == b"anew"


@pytest.mark.parametrize("keep", [0, 5, 30, 60])
def test_a_truncated_entry_counts_as_missing(tmp_path: Path, keep: int) -> None:
    cache = ObjectCache(tmp_path)
    cache.put("key", b"object")
    (entry,) = cache.folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:keep])
    assert cache.get("key") is None


def test_the_whole_key_is_compared(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path)
    cache.put("key", b"object")
    (entry,) = cache.folder.iterdir()
    cache.put("other", b"more")
    (other,) = set(cache.folder.iterdir()) - {entry}
    entry.replace(other)  # what a collision of the hash would look like
    assert cache.get("other") is None


def unusable(cache: ObjectCache, said: str) -> None:
    with pytest.warns(RuntimeWarning, match=said):
        assert cache.get("key") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # warned of once
        cache.put("key", b"object")
        assert cache.get("key") is None


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects").chmod(0o777)
    unusable(ObjectCache(tmp_path), "others may write")


def test_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "objects").symlink_to(tmp_path / "elsewhere")
    unusable(ObjectCache(tmp_path), "a link")


def test_a_foreign_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "objects").mkdir(mode=0o700)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    unusable(ObjectCache(tmp_path), "another user")


def test_a_path_that_is_no_folder_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    unusable(ObjectCache(tmp_path / "file"), "cannot make it")


def test_a_full_disk_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_from: object, _to: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache = ObjectCache(tmp_path)
    with pytest.warns(RuntimeWarning, match="No space left"):
        cache.put("key", b"object")
    assert list(cache.folder.iterdir()) == []


def test_a_second_compilation_comes_from_the_cache(tmp_path: Path) -> None:
    target = Target.parse("host")
    for hits in (0, 2):  # the kernel and the entry
        cache = ObjectCache(tmp_path)
        kernel = compile_func(parse_func(ADD), target, cache)
        assert cache.hits == hits
        a, c = np.ones(5, np.float32), np.zeros(5, np.float32)
        kernel(a, a, c, 5)
        assert c.tolist() == [2] * 5
    other = ObjectCache(tmp_path)
    compile_func(parse_func(ADD), Target.parse("generic"), other)
    assert other.hits == 0
