"""A saved program as a file or folder: JSON, safetensors and object code, each with a checksum.

A file is a zip of what the folder holds, nothing compressed. `manifest.json` names every other
member with its size and SHA-256, and has a checksum of itself, so that any damage is found before
anything is used. Members are read by names from a fixed set of patterns, never by paths that a
file gives. This module must not know what programs are.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tc import __version__
from tc.device.arena import Block, align
from tc.errors import CompileError, TcError, describe
from tc.frozen import frozen

FORMAT = 4
MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"
_MEMBER = re.compile(r"program-[0-9]{1,4}(\.json|-[0-9]{1,4}\.o)|weights\.safetensors")
_CHUNK = 1 << 20
_MOST_JSON = 256 << 20
_MOST_HEADER = 100 << 20


@frozen
class RawTensor:
    """A tensor in memory: safetensors' name of its type, its shape, where it lies.

    `owner` keeps the memory alive.
    """

    dtype: str
    shape: tuple[int, ...]
    address: int
    bytes: int
    owner: object

    def data(self) -> memoryview:
        """Its bytes, not copied."""
        return memoryview((ctypes.c_char * self.bytes).from_address(self.address)).cast("B")


def write(
    path: Path,
    manifest: Mapping[str, Any],
    members: Mapping[str, bytes],
    tensors: Mapping[str, RawTensor],
) -> None:
    """Write a file, or a folder if `path` is an existing one; replaced as a whole or not at all.

    Raises:
        TcError: the system refuses (no space, no permission, no such folder).
    """
    try:
        _write(path, manifest, members, tensors)
    except OSError as error:
        raise TcError(
            describe(
                f"saving {path}",
                why=f"cannot be written ({error.strerror or error})",
                way_out="choose a folder that exists, may be written to and has room",
            )
        ) from error


def _write(
    path: Path,
    manifest: Mapping[str, Any],
    members: Mapping[str, bytes],
    tensors: Mapping[str, RawTensor],
) -> None:
    folder = Path(tempfile.mkdtemp(prefix=".tc-save-", dir=path.parent if path.name else "."))
    try:
        files = {}
        for name, data in members.items():
            (folder / name).write_bytes(data)
            files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        files[WEIGHTS] = _write_tensors(folder / WEIGHTS, tensors)
        body = {**manifest, "format": FORMAT, "tc": __version__, "files": files}
        body["checksum"] = _checksum(body)
        (folder / MANIFEST).write_text(json.dumps(body, indent=1), encoding="utf-8")
        if path.is_dir():
            for name in (*files, MANIFEST):  # the manifest last: until then the old one is invalid
                os.replace(folder / name, path / name)
            return
        packed = folder / "packed"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for name in (MANIFEST, *files):
                archive.write(folder / name, name)
                (folder / name).unlink()  # never more than two copies of the weights on disk
        os.replace(packed, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_tensors(path: Path, tensors: Mapping[str, RawTensor]) -> dict[str, Any]:
    header: dict[str, Any] = {}
    at = 0
    for name, tensor in tensors.items():
        end = at + tensor.bytes
        header[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    pieces: list[bytes | memoryview] = [len(text).to_bytes(8, "little"), text]
    pieces += [tensor.data() for tensor in tensors.values()]
    with path.open("wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    return {"bytes": 8 + len(text) + at, "sha256": digest.hexdigest()}


def _checksum(body: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in body.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


class Reader:
    """Reads what `write` wrote; every member is checked before it is given out."""

    def __init__(self, path: Path) -> None:
        """Open and check the manifest.

        Raises:
            CompileError: not such a file, damaged, or of another version.
        """
        self.path = path
        with self._complaints():
            body = json.loads(self._read(MANIFEST, _MOST_JSON))
            if not isinstance(body, dict) or not isinstance(body.get("files"), dict):
                raise ValueError("its manifest is no manifest")
            if body.get("format") != FORMAT:
                raise _VersionError(body.get("format"))
            if body.get("checksum") != _checksum(body):
                raise ValueError("its manifest does not match its checksum")
            self.manifest: dict[str, Any] = body
            self.files: dict[str, Any] = body["files"]

    def member(self, name: str) -> bytes:
        """The bytes of a member. Raises CompileError where they are damaged or missing."""
        with self._complaints():
            size, wanted = self._expected(name)
            data = self._read(name, size)
            if len(data) != size or hashlib.sha256(data).hexdigest() != wanted:
                raise ValueError(f"{name} does not match its checksum")
            return data

    def json(self, name: str) -> Any:
        """A member that is JSON."""
        data = self.member(name)
        with self._complaints():
            return json.loads(data)

    def tensors(self) -> dict[str, RawTensor]:
        """All weights, in memory of their own, aligned to cache lines."""
        with self._complaints():
            size, wanted = self._expected(WEIGHTS)
            digest = hashlib.sha256()
            with self._open(WEIGHTS) as file:
                header, count = _header(file, size, digest)
                found = _allocate(header, size - count)
                for tensor in sorted(found.values(), key=lambda t: t[0]):
                    _fill(file, tensor[1].data(), digest)
                if file.read(1) or digest.hexdigest() != wanted:
                    raise ValueError(f"{WEIGHTS} does not match its checksum")
            return {name: tensor for name, (_, tensor) in found.items()}

    def _expected(self, name: str) -> tuple[int, str]:
        entry = self.files[name]
        if not _MEMBER.fullmatch(name):
            raise ValueError(f"it has no member called {name!r}")
        return int(entry["bytes"]), str(entry["sha256"])

    def _read(self, name: str, most: int) -> bytes:
        with self._open(name) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise ValueError(f"{name} is larger than it should be")
        return data

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        if self.path.is_dir():
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)
            with os.fdopen(os.open(self.path / name, flags), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise ValueError(f"{name} is no regular file")
                yield file
            return
        with zipfile.ZipFile(self.path) as archive:
            if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed")
            with archive.open(name) as member:
                yield member

    @contextlib.contextmanager
    def _complaints(self) -> Iterator[None]:
        """Whatever a damaged file leads to becomes one error."""
        try:
            yield
        except TcError:
            raise
        except _VersionError as error:
            raise CompileError(
                describe(
                    f"saved program {self.path}",
                    why=f"is of format {error.args[0]!r}, this version of tc reads {FORMAT}",
                    way_out="save it again with this version",
                )
            ) from error
        except FileNotFoundError as error:
            raise CompileError(
                describe(
                    f"saved program {self.path}",
                    why=f"there is no {os.path.basename(error.filename or '') or 'such file'}",
                    way_out="check the path",
                )
            ) from error
        except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError, MemoryError,
                OverflowError, AttributeError, NotImplementedError, RuntimeError,
                zipfile.BadZipFile) as error:  # fmt: skip
            reason = str(error) or type(error).__name__
            raise CompileError(
                describe(
                    f"saved program {self.path}",
                    why=f"it is damaged or no saved program ({reason})",
                    way_out="save it again",
                )
            ) from error


class _VersionError(Exception):
    """The file is of another format."""


def _header(file: IO[bytes], size: int, digest: Any) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file and how many bytes it takes with its length."""
    length = file.read(8)
    count = int.from_bytes(length, "little")
    if len(length) != 8 or count > min(size, _MOST_HEADER):
        raise ValueError(f"{WEIGHTS} has no header")
    text = file.read(count)
    digest.update(length)
    digest.update(text)
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError(f"{WEIGHTS} has no header")
    return header, 8 + count


def _allocate(header: Mapping[str, Any], size: int) -> dict[str, tuple[int, RawTensor]]:
    """Memory for every tensor: name -> (where its data begins in the file, the tensor)."""
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        begin, end = (int(offset) for offset in entry["data_offsets"])
        spans.append((begin, end, name))
    at = 0
    for begin, end, name in sorted(spans):
        if begin != at or end < begin:
            raise ValueError(f"{WEIGHTS}: {name} does not lie where the one before it ends")
        at = end
    if at != size:
        raise ValueError(f"{WEIGHTS} holds {size} bytes, its header says {at}")
    block = Block(sum(align(end - begin) for begin, end, _ in spans))
    address = block.address
    found = {}
    for begin, end, name in sorted(spans):
        entry = header[name]
        shape = tuple(int(n) for n in entry["shape"])
        tensor = RawTensor(str(entry["dtype"]), shape, address, end - begin, block)
        found[name] = (begin, tensor)
        address += align(end - begin)
    return found


def _fill(file: IO[bytes], data: memoryview, digest: Any) -> None:
    for at in range(0, len(data), _CHUNK):
        piece = file.read(min(_CHUNK, len(data) - at))
        if len(piece) != min(_CHUNK, len(data) - at):
            raise ValueError(f"{WEIGHTS} is truncated")
        digest.update(piece)
        data[at : at + len(piece)] = piece


SAFETENSORS_NAMES: Mapping[str, str] = {
    "bool": "BOOL", "i8": "I8", "i16": "I16", "i32": "I32", "i64": "I64", "u8": "U8",
    "f16": "F16", "bf16": "BF16", "f32": "F32", "f64": "F64",
}  # fmt: skip
