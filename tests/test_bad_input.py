"""Bad input: one TcError that says what, where, why and what to do; all else goes on as before."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tc
from tc import te
from tc.frontend.folder import load_folder
from tests.models import MAX_POSITIONS, VOCABULARY, entry

SEQUENCE = "input_ids"


@pytest.fixture(autouse=True)
def _infer() -> Iterator[None]:
    with torch.no_grad():
        yield


class Tiny(nn.Module):
    """Token ids to classes, with positions: everything that a call can get wrong."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(VOCABULARY, 8)
        self.places = nn.Embedding(16, 8)
        self.out = nn.Linear(8, 4)

    def forward(self, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        place = torch.arange(ids.shape[1], device=ids.device)
        return self.out((self.words(ids) + self.places(place)) * weights[..., None])


def ids(*shape: int) -> torch.Tensor:
    return torch.arange(int(np.prod(shape))).reshape(shape) % VOCABULARY


GOOD = {"ids": ids(2, 5), "weights": torch.ones(2, 5)}


@pytest.fixture(scope="module")
def model() -> Tiny:
    return Tiny().eval()


@pytest.fixture(scope="module")
def compiled(model: Tiny) -> Any:
    with torch.no_grad():
        return tc.compile(model, threads=1, example_inputs=GOOD)


@pytest.fixture(scope="module")
def saved(compiled: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "tiny.tc"
    compiled.save(path)
    return path.read_bytes()


def refused(call: Callable[[], object], *said: str) -> str:
    """The one line of the TcError that `call` raises; it says all of `said`."""
    with pytest.raises(tc.TcError) as caught:
        call()
    message = caught.value.message
    assert not isinstance(caught.value, tc.InternalError), message
    assert "\n" not in message and ": " in message and "; " in message, message
    for part in said:
        assert part in message
    return message


def works(compiled: Any, model: nn.Module) -> None:
    torch.testing.assert_close(compiled(**GOOD), model(**GOOD), rtol=1e-5, atol=1e-6)


# --- calls

CALLS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "dtype": ({"weights": torch.ones(2, 5).double()}, ("operator linear", "f64", "f32")),
    "dtype of ids": ({"ids": torch.ones(2, 5)}, ("ids: float32[2, 5]", "scalar types: Long, Int")),
    "rank": ({"ids": ids(2, 5)[0]}, ("ids: int64[5]", "the model itself refuses it")),
    "device": (
        {"weights": torch.ones(2, 5, device="meta")},
        ("on meta", "move it with .to('cpu')"),
    ),
    "size": ({"weights": torch.ones(2, 4)}, ("input weights", "dim 1", "is 4, must be 5")),
    "sparse": ({"weights": torch.ones(2, 5).to_sparse()}, ("torch.sparse_coo", "dense")),
    "no tensor": ({"weights": np.ones((2, 5))}, ("argument weights", "numpy.ndarray")),
    "id": ({"ids": ids(2, 5) + VOCABULARY}, ("input ids", "holds id", f"0 to {VOCABULARY - 1}")),
    "negative id": ({"ids": ids(2, 5) - 1}, ("input ids", "holds id -1")),
    "sequence": ({"ids": ids(1, 17), "weights": torch.ones(1, 17)}, ("17", "16")),
}


@pytest.mark.parametrize("fault", CALLS)
def test_a_bad_call(fault: str, compiled: Any, model: Tiny) -> None:
    arguments, said = CALLS[fault]
    refused(lambda: compiled(**{**GOOD, **arguments}), *said)
    works(compiled, model)


def test_a_missing_and_an_unknown_argument(compiled: Any, model: Tiny) -> None:
    refused(lambda: compiled(ids=ids(2, 5)), "call of Tiny", "missing", "'weights'", "forward(ids")
    refused(lambda: compiled(**GOOD, mask=None), "call of Tiny", "'mask'")
    works(compiled, model)


def test_a_hugging_face_model() -> None:
    bert = entry("bert")
    made = tc.compile(bert.build(), threads=1)
    refused(lambda: made(**bert.inputs(1, MAX_POSITIONS + 1)), "length", str(MAX_POSITIONS))
    refused(lambda: made(input_ids=ids(2, 5) + VOCABULARY), SEQUENCE, "holds id")
    refused(lambda: made(), "call of BertModel", "exactly one of input_ids or inputs_embeds")


def test_weights_that_another_call_has_converted() -> None:
    own = Tiny().eval()
    made = tc.compile(own, threads=1, example_inputs=GOOD)
    own.half()
    refused(lambda: made(**GOOD), "weight ", "torch.float16", "then compile it")
    own.float()
    torch.testing.assert_close(made(**GOOD), own(**GOOD), rtol=1e-5, atol=1e-6)


def test_weights_given_other_memory() -> None:
    own = Tiny().eval()
    made = tc.compile(own, threads=1, example_inputs=GOOD)
    before = made(**GOOD)
    own.out.weight.data = torch.randn(4, 8)
    assert not torch.allclose(made(**GOOD), before)
    torch.testing.assert_close(made(**GOOD), own(**GOOD), rtol=1e-5, atol=1e-6)


# --- options and folders


def test_an_unknown_target_or_precision(model: Tiny) -> None:
    for target in ("riscv", "x86-64-v9", "host cores=x", ""):
        refused(lambda t=target: tc.compile(model, target=t), "target")
    refused(lambda: tc.compile(model, precision="fp8"), "precision='fp8'", "'fp32'")
    refused(lambda: tc.compile(model, threads=0), "threads=0")
    other = "arm-neon" if "x86" in str(tc.Target.parse("host")) else "x86-64-v3"
    refused(lambda: tc.compile(model, target=other)(**GOOD), other, "this machine")


def test_a_model_folder_without_weights_or_with_truncated_ones(tmp_path: Path) -> None:
    refused(lambda: load_folder(tmp_path / "none"), "no such folder")
    refused(lambda: load_folder(tmp_path), "no config.json")
    entry("bert").build().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    for size in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        weights.write_bytes(whole[:size])
        refused(lambda: load_folder(tmp_path), "model folder", "fetch it anew")
    weights.unlink()
    refused(lambda: load_folder(tmp_path), "no weights")
    weights.write_bytes(whole)
    assert load_folder(tmp_path).config.model_type == "bert"


# --- saved programs


def test_a_truncated_program(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.tc"
    for size in (0, 1, 21, 22, *range(100, len(saved), len(saved) // 20), len(saved) - 1):
        path.write_bytes(saved[:size])
        refused(lambda: tc.load(path), "saved program", "save it again")


def test_flipped_bits_are_told_or_harmless(saved: bytes, model: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "t.tc"
    arrays = {name: value.numpy() for name, value in GOOD.items()}
    told = 0
    for at in range(7, len(saved), len(saved) // 60):
        damaged = bytearray(saved)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            loaded = tc.load(path, threads=1)
        except tc.TcError as error:
            told += not isinstance(error, tc.InternalError)
        else:
            np.testing.assert_allclose(loaded(**arrays), model(**GOOD).numpy(), rtol=1e-5)
    assert told > 40


def test_a_program_of_another_version(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.tc"
    path.write_bytes(saved)
    folder = tmp_path / "folder"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["format"] += 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    refused(lambda: tc.load(folder), "saved program", "format", "save it again with this version")


def test_a_file_made_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "t.tc"
    torch.save({"a": torch.ones(3)}, path)
    refused(lambda: tc.load(path), "no saved program")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", '{"programs": [], "format": 1}')
        archive.writestr("../escape", "x")
    refused(lambda: tc.load(path), "no saved program")
    assert not (tmp_path.parent / "escape").exists()
    refused(lambda: tc.load(tmp_path / "none.tc"), "there is no none.tc", "check the path")


def test_a_loaded_program_refuses_what_does_not_fit(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.tc"
    path.write_bytes(saved)
    loaded = tc.load(path, threads=1)
    good = {name: value.numpy() for name, value in GOOD.items()}
    want = loaded(**good)
    refused(lambda: loaded(**good | {"weights": good["weights"].astype(np.float64)}), "float64")
    refused(lambda: loaded(**good | {"weights": good["weights"][0]}), "input weights", "rank 1")
    refused(lambda: loaded(**good | {"weights": good["weights"][:, :3]}), "is 3, must be 5")
    refused(lambda: loaded(**good | {"ids": good["ids"] + VOCABULARY}), "input ids", "holds id")
    refused(lambda: loaded(ids=good["ids"]), "was given ids", "compiled for ids, weights")
    np.testing.assert_array_equal(loaded(**good), want)


def test_saving_where_nothing_can_be_written(
    compiled: Any, model: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.tc"
    path.write_bytes(b"precious")
    refused(lambda: compiled.save(tmp_path / "none" / "t.tc"), "saving", "choose a folder")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    refused(lambda: compiled.save(path), "No space left on device")
    monkeypatch.undo()
    assert path.read_bytes() == b"precious" and os.listdir(tmp_path) == ["t.tc"]
    works(compiled, model)


# --- the cache folder


def unwritable(folder: Path, _monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_bytes(b"a file where the folder should be")


def full(_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.mkstemp", no_room)


def foreign(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)


@pytest.mark.parametrize("spoil", [unwritable, full, foreign])
def test_a_cache_folder_of_no_use_is_done_without(
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    model: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "cache"
    spoil(folder, monkeypatch)
    monkeypatch.setenv("TC_CACHE_DIR", str(folder))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = tc.compile(model, threads=1, example_inputs=GOOD)
        works(made, model)
        # Another program of the same process says nothing new.
        tc.compile(nn.Linear(3, 2), threads=1)(torch.ones(1, 3))
    told = [str(w.message) for w in caught if "cache folder" in str(w.message)]
    assert len(told) == 1 and str(folder) in told[0] and "TC_CACHE_DIR" in told[0]


# --- the machine


NO_COMPILER = """
import numpy as np, tc
from tc import te
a = te.placeholder((4,), name="a")
f = tc.build(te.compute((4,), lambda i: te.exp(a[i])), threads=1)
np.testing.assert_allclose(f(np.ones(4, np.float32)), np.e, rtol=1e-6)
"""


def test_no_compiler_on_the_path_is_needed(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path), "TC_CACHE_DIR": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    where = str(Path(tc.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", NO_COMPILER], env=env | {"PYTHONPATH": where}, check=True, timeout=60
    )


def test_models_need_no_compiler_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TC_CACHE_DIR", str(tmp_path / "cache"))
    own, ids, weights = Tiny().eval(), torch.arange(6).view(2, 3), torch.ones(2, 3)
    with torch.no_grad():
        torch.testing.assert_close(tc.compile(own, threads=1)(ids, weights), own(ids, weights))


@pytest.mark.parametrize("after", [0.05, 0.3, 0.8])
def test_ctrl_c_in_a_compile_leaves_a_usable_state(
    after: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TC_CACHE_DIR", str(tmp_path))
    own = Tiny().eval()
    made = tc.compile(own, threads=1)
    main = threading.main_thread().ident
    stop = threading.Event()

    def press() -> None:
        # More than once, as a user would: Python drops an exception that a signal raises while
        # the collector calls back.
        pause = after
        while not stop.wait(pause):
            signal.pthread_kill(main, signal.SIGINT)
            pause = 0.5

    keys = threading.Thread(target=press)
    interrupted = False
    try:
        keys.start()
        made(**GOOD)
        stop.wait(30)  # a fast machine has compiled by then: the signal comes here
    except KeyboardInterrupt:
        interrupted = True
    finally:
        stop.set()
    keys.join()
    assert interrupted
    works(made, own)
    assert made.stats()["compilations"] <= 2
    assert not [name for name in os.listdir(tmp_path / "objects") if name.startswith(".new-")]


# --- expressions and schedules

A = te.placeholder((4, 8), name="A")


def test_a_schedule_that_does_not_apply() -> None:
    doubled = te.compute((4, 8), lambda i, j: A[i, j] * 2.0)
    plain = te.schedule(doubled)
    refused(lambda: tc.build(plain.split("nowhere", 4)), "nowhere", "i, j")
    refused(lambda: tc.build(plain.split("i", 0)), "split")
    total = te.reduce_axis(8)
    row = te.compute((4,), lambda i: te.sum(A[i, total], axis=total))
    refused(lambda: tc.build(te.schedule(row).parallel("k")), "parallel")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (lambda i, j: A[i, j + 1], "index 1 is as high as 8"),
        (lambda i, j: A[i - 1, j], "index 0 is as low as -1"),
        (lambda i, j: A[9, j], "index 0 is as high as 9"),
        (lambda i, j: A[i], "was given 1 indices"),
        (lambda i, j: A[i, j] + i, "f32 and i64"),
        (lambda i, j: None, "NoneType in an expression"),
        (lambda i, j: "x", "str in an expression"),
    ],
)
def test_an_expression_that_is_wrong(body: Callable[..., Any], said: str) -> None:
    refused(lambda: tc.build(te.compute((4, 8), body)), said)


def test_an_index_out_of_bounds_that_only_a_call_can_tell() -> None:
    places = te.placeholder((3,), "i64", name="places")
    f = tc.build(te.compute((3, 8), lambda i, j: A[places[i], j]), threads=1)
    rows = np.arange(32, dtype=np.float32).reshape(4, 8)
    refused(lambda: f(rows, np.array([0, 4, 1])), "index out of range in dim 0")
    refused(lambda: f(rows, np.array([0, -1, 1])), "index out of range in dim 0")
    np.testing.assert_array_equal(f(rows, np.array([0, 3, 1])), rows[[0, 3, 1]])


def test_a_division_of_integers_by_zero() -> None:
    class Divide(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return a // b, a % b

    made, a = tc.compile(Divide(), threads=1), torch.arange(-20, 20)
    b = torch.where(a % 7 == 3, 5, a % 7 - 3)
    assert all(map(torch.equal, made(a, b), Divide()(a, b)))
    refused(lambda: made(a, a), "an integer is divided by zero")
    assert all(map(torch.equal, made(a, b), Divide()(a, b)))


def test_a_first_call_that_is_refused_leaves_the_model_usable() -> None:
    own = Tiny().eval()
    made = tc.compile(own, threads=1)
    refused(lambda: made(**GOOD | {"weights": torch.ones(2, 5).double()}), "operator linear")
    refused(lambda: made(**GOOD | {"ids": torch.ones(2, 5)}), "the model itself refuses it")
    works(made, own)


@pytest.mark.parametrize("shape", [(-1, 2), (1 << 70,), (2.5,), (True,), ("n",), 4])
def test_a_shape_that_is_none(shape: Any) -> None:
    refused(lambda: te.placeholder(shape), "shape")
