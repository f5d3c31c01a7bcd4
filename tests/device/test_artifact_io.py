"""Saved programs: JSON there and back, files and folders, any damage told in one error."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tc.device.artifact import (
    Artifact,
    Code,
    DimArg,
    FallbackCall,
    KernelCall,
    Place,
    Repeat,
    StorageArg,
)
from tc.device.artifact_file import FORMAT, WEIGHTS, RawTensor, Reader, write
from tc.device.artifact_io import from_json, to_json
from tc.errors import CompileError, TcError
from tc.ir.types import BF16
from tests.device.fake_code import N, kernel, storage, tensor

ARTIFACT = Artifact(
    target="generic",
    symbols=(N,),
    inputs=(tensor("x", "n", 4),),
    outputs=(tensor("y", "n + 1"),),
    params=(tensor("w", 4),),
    storages=(storage(Place.INPUT, 0, "n", 4), storage(Place.OUTPUT, 0, "n + 1")),
    prepare=(),
    main=(
        KernelCall(0, (0, 1), ("n * 4",)),
        KernelCall(0, (0, 1), ("step",), Repeat(0, "step", "n")),
        FallbackCall(
            "aten.full.default",
            (StorageArg(0), (1, -math.inf, None, True), DimArg("n"), BF16, "none", 0.1),
            (1,),
            "encoder.0",
        ),
    ),
    kernels=(kernel("k", "m"),),
    code=(Code("main_0", b"code", ("index out of range",)),),
    mutated=(0,),
)


def test_json_and_back() -> None:
    text = json.dumps(to_json(ARTIFACT), allow_nan=False)
    assert from_json(json.loads(text), [b"code"]) == ARTIFACT


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("target", 3),
        ("symbols", [["n", 0]]),
        ("inputs", [["x", "f33", [1]]]),
        ("inputs", [["x", "f32", ["__import__('os')"]]]),
        ("storages", [["input", 1, "f32", [1]]]),
        ("storages", [["outer", 0, "f32", [1]]]),
        ("main", [["kernel", 1, [0, 1], ["n"]]]),
        ("main", [["kernel", 0, [0, 2], ["n"]]]),
        ("main", [["kernel", 0, [0, -1], ["n"]]]),
        ("main", [["kernel", 0, [0, 1], []]]),
        ("main", [["jump", 0]]),
        ("main", None),
        ("mutated", [1]),
        ("code", []),
    ],
)
def test_json_that_contradicts_itself(key: str, value: object) -> None:
    with pytest.raises(CompileError, match="malformed|not an integer expression"):
        from_json({**to_json(ARTIFACT), key: value}, [b""])


def raw(array: np.ndarray, dtype: str = "F32") -> RawTensor:
    return RawTensor(dtype, array.shape, array.ctypes.data, array.nbytes, array)


A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 3), np.float32)
MEMBERS = {"program-0.json": b"[1, 2]", "program-0-0.o": b"\x7fELF" * 9}


def save(path: Path) -> None:
    write(path, {"model": "Net"}, MEMBERS, {"a": raw(A), "none": raw(B), "b.c": raw(A + 1)})


def read(path: Path) -> tuple[object, ...]:
    reader = Reader(path)
    tensors = {
        name: (t.dtype, t.shape, bytes(t.data())) for name, t in sorted(reader.tensors().items())
    }
    members = [reader.member(name) for name in MEMBERS]
    return reader.manifest["model"], members, tensors


@pytest.mark.parametrize("folder", [False, True])
def test_write_and_read(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "x.tc"
    if folder:
        path.mkdir()
    save(path)
    model, members, tensors = read(path)
    assert (model, members) == ("Net", list(MEMBERS.values()))
    assert tensors == {
        "a": ("F32", (2, 3), A.tobytes()),
        "none": ("F32", (0, 3), b""),
        "b.c": ("F32", (2, 3), (A + 1).tobytes()),
    }
    assert all(t.address % 64 == 0 for t in Reader(path).tensors().values())
    assert [p.name for p in tmp_path.iterdir()] == ["x.tc"]


def test_the_weights_are_plain_safetensors(tmp_path: Path) -> None:
    save(tmp_path)
    found = load_file(tmp_path / WEIGHTS)
    np.testing.assert_array_equal(found["a"], A)
    assert found["none"].shape == (0, 3)


def test_every_truncation_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.tc"
    save(path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(CompileError, match="damaged or no saved program"):
            read(path)


def test_a_flipped_bit_is_told_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "x.tc"
    save(path)
    whole, good = path.read_bytes(), read(path)
    chance = random.Random(1)
    told = 0
    for at in range(0, len(whole), 3):
        bit = 1 << chance.randrange(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        try:
            assert read(path) == good  # a time stamp, say
        except CompileError as error:
            told += "saved program" in error.message
    assert told > len(whole) // 3 * 0.8


@pytest.mark.parametrize("name", ["manifest.json", "program-0-0.o", WEIGHTS])
def test_damage_in_a_folder(tmp_path: Path, name: str) -> None:
    save(tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CompileError, match="damaged"):
        read(tmp_path)


def test_a_missing_member_and_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    save(folder)
    (folder / "program-0-0.o").rename(tmp_path / "elsewhere.o")
    with pytest.raises(CompileError, match="there is no program-0-0.o"):
        read(folder)
    (folder / "program-0-0.o").symlink_to(tmp_path / "elsewhere.o")
    with pytest.raises(CompileError, match="damaged"):
        read(folder)


def test_names_that_are_paths(tmp_path: Path) -> None:
    save(tmp_path)
    with pytest.raises(CompileError, match="damaged"):
        Reader(tmp_path).member("../secret")


def test_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tc.device.artifact_file.FORMAT", 99)
    save(tmp_path / "x.tc")
    monkeypatch.undo()
    with pytest.raises(CompileError, match=f"is of format 99, this version of tc reads {FORMAT}"):
        read(tmp_path / "x.tc")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="there is no"):
        Reader(tmp_path / "none.tc")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TcError, match="cannot be written"):
        save(tmp_path / "none" / "x.tc")
