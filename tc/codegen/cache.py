"""What was compiled, on disk, so that what was compiled once is only loaded afterwards.

The name of an entry is a hash of its key, and the whole key lies in the entry and is compared; a
checksum covers it all. A damaged entry counts as missing. Entries are code that will run, so the
folder must belong to this user alone. A folder that cannot be used is warned of once, and then
the cache does nothing: it must never make a compilation fail.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import warnings
from pathlib import Path

_MAGIC = b"tc object 1\n"
_DIGEST = hashlib.sha256().digest_size
_SIZE = 8
# Folders that were warned of: a process compiles many programs, and says it once.
_TOLD: set[Path] = set()


class ObjectCache:
    """Entries in `folder`/`kind`; `hits` and `misses` count since it was made."""

    def __init__(self, folder: Path, kind: str = "objects") -> None:
        self.folder = folder / kind
        self.hits = 0
        self.misses = 0
        self._root = folder
        self._usable: bool | None = None

    def get(self, key: str) -> bytes | None:
        """What was stored under `key`, or None."""
        found = self._read(key) if self._ready() else None
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    def put(self, key: str, data: bytes) -> None:
        """Store `data`; readers see the old entry or the whole new one, nothing between."""
        if not self._ready():
            return
        encoded = key.encode()
        body = len(encoded).to_bytes(_SIZE, "little") + encoded + data
        entry = _MAGIC + hashlib.sha256(body).digest() + body
        temporary = ""
        try:
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".new-")
            with os.fdopen(handle, "wb") as file:
                file.write(entry)
            os.replace(temporary, self._path(key))
        except OSError as error:
            if temporary:
                Path(temporary).unlink(missing_ok=True)
            self._give_up(f"cannot write there ({error.strerror})")

    def _read(self, key: str) -> bytes | None:
        try:
            entry = self._path(key).read_bytes()
        except OSError:
            return None
        start = len(_MAGIC) + _DIGEST
        body = entry[start:]
        if entry[: len(_MAGIC)] != _MAGIC or entry[len(_MAGIC) : start] != _hash(body):
            return None  # damaged: it is compiled anew and written over
        size = int.from_bytes(body[:_SIZE], "little")
        if body[_SIZE : _SIZE + size] != key.encode():
            return None
        return body[_SIZE + size :]

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.o"

    def _ready(self) -> bool:
        if self._usable is None:
            reason = self._prepare()
            if reason is None:
                self._usable = True
            else:
                self._give_up(reason)
        return bool(self._usable)

    def _prepare(self) -> str | None:
        """Make the folder; why it cannot be used, or None."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            info = self.folder.lstat()
        except OSError as error:
            return f"cannot make it ({error.strerror})"
        if not stat.S_ISDIR(info.st_mode):
            return "it is a link or no folder"
        if info.st_uid != os.geteuid():
            return "it belongs to another user"
        if info.st_mode & 0o022:
            return "others may write to it"
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            return "it is not writable"
        return None

    def _give_up(self, reason: str) -> None:
        self._usable = False
        if self._root in _TOLD:
            return
        _TOLD.add(self._root)
        warnings.warn(
            f"cache folder {self.folder}: {reason}; compiled code is not kept: give another folder "
            "or set TC_CACHE_DIR",
            RuntimeWarning,
            stacklevel=2,
        )


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
