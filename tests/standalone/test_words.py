"""A small model in C, built under sanitizers: its results, and every kind of bad input."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tc
from tc.codegen.c.compilers import machine_flags
from tc.errors import CompileError, TcError
from tc.standalone.running import Exported
from tests.standalone.exported import (
    BATCH,
    LENGTH,
    SANITIZED,
    UNOPTIMISED,
    Words,
    build_driver,
    compiled_words,
    foreign,
    need,
    save,
    syntax_check,
    words_inputs,
)

Files = dict[str, Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    where = tmp_path_factory.mktemp("words")
    exported = compiled_words().export_c(where, max_batch=BATCH, max_length=LENGTH)
    assert isinstance(exported, Exported)
    return exported


@pytest.fixture(scope="module")
def built(folder: Exported) -> Exported:
    need("make", "cc")
    folder.build(flags=SANITIZED)
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return save(tmp_path, words_inputs())


def model_cli(exported: Exported, *words: object) -> subprocess.CompletedProcess[str]:
    program = exported.folder / "model_cli"
    command = [str(program), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def run_words(files: Files, out: Path | str) -> list[str]:
    inputs = [word for name, path in files.items() for word in ("--input", f"{name}={path}")]
    return ["run", *inputs, "--output", f"output={out}"]


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 5), (BATCH, LENGTH)])
def test_it_computes_what_eager_computes(built: Exported, batch: int, length: int) -> None:
    inputs = words_inputs(batch, length)
    with torch.no_grad():
        wanted = Words()(**inputs).numpy()
    found = built.run({name: tensor.numpy() for name, tensor in inputs.items()})
    np.testing.assert_allclose(found["output"], wanted, rtol=1e-5, atol=1e-6)


def test_info_and_bench(built: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = built.command("info")
    assert "input input_ids: i64[batch, " in said and "output output: f32[" in said
    assert "generates: no" in said
    assert "median" in built.command("bench", "--repeat", "3")
    monkeypatch.chdir(built.folder)
    assert replace(built, folder=Path()).command("info") == said
    with pytest.raises(TcError, match=r"is not built; call build\(\)"):
        replace(built, folder=tmp_path).command("info")


def test_two_exports_are_the_same_bytes(folder: Exported, tmp_path: Path) -> None:
    compiled_words().export_c(tmp_path, max_batch=BATCH, max_length=LENGTH)
    made = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert {"model.h", "model.c", "weights.bin", "Makefile", "CMakeLists.txt"} <= set(made)
    assert made == {name: (folder.folder / name).read_bytes() for name in made}


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_compilers_have_nothing_to_say(folder: Exported, compiler: str) -> None:
    need(compiler)
    assert syntax_check(compiler, folder.folder, list(machine_flags(folder.target))) == ""


def test_lines_are_short_and_plain(folder: Exported) -> None:
    assert foreign(folder.folder) == set()
    for path in folder.folder.glob("*.[ch]"):
        for line in path.read_text(encoding="ascii").splitlines():
            assert len(line) <= 100 and "\t" not in line and line == line.rstrip(), path


def damaged(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (lambda _: b"", 4, "has 0 bytes"),
        (lambda data: data[:100], 4, "has 100 bytes"),
        (lambda data: data + bytes(64), 4, "expected"),
        (damaged(0), 5, "no weights file"),
        (damaged(8), 6, "version 0"),
        (damaged(24), 5, "header"),
        (damaged(40), 5, "header"),
        (damaged(-5), 5, "content"),
        (damaged(70), 5, "content"),
    ],
)
def test_weights_that_are_not_the_models(
    built: Exported,
    files: Files,
    tmp_path: Path,
    change: Callable[[bytes], bytes],
    status: int,
    said: str,
) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(change((built.folder / "weights.bin").read_bytes()))
    done = model_cli(built, "--weights", path, *run_words(files, tmp_path / "out.npy"))
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr and done.stderr.count("\n") == 1 and str(path) in done.stderr


def test_weights_of_another_model(built: Exported, files: Files, tmp_path: Path) -> None:
    other = tc.compile(torch.nn.Linear(3, 2).eval(), example_inputs=(torch.zeros(2, 3),))
    made = other.export_c(tmp_path / "other")
    done = model_cli(built, "--weights", made.folder / "weights.bin", *run_words(files, "/x"))
    assert done.returncode == 7 and "another model" in done.stderr


def arrays(tmp_path: Path, **changed: np.ndarray) -> Files:
    files = save(tmp_path, words_inputs())
    for name, array in changed.items():
        np.save(files[name], array)
    return files


ONES = np.ones((3, 5), np.int64)


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        ({"input_ids": ONES.astype(np.int32)}, 11, "i32"),
        ({"input_ids": ONES.astype(np.complex64)}, 11, "<c8"),
        ({"input_ids": np.ones(3, np.int64)}, 12, "rank 1"),
        ({"x": np.ones((3, 9), np.float32)}, 13, "dim 1 is 9, must be 8"),
        ({"x": np.ones((2, 8), np.float32)}, 13, "dim 0 is 2, must be 3"),
        ({"input_ids": np.ones((3, 0), np.int64)}, 13, "is 0"),
        ({"input_ids": np.ones((3, LENGTH + 1), np.int64)}, 10, "must be 1 to 6"),
        ({"input_ids": ONES * 11}, 14, "id 11"),
        ({"input_ids": -ONES}, 14, "id -1"),
        ({"input_ids": np.asfortranarray(ONES)}, 22, "Fortran"),
    ],
)
def test_arrays_that_do_not_fit(
    built: Exported, tmp_path: Path, changed: dict[str, np.ndarray], status: int, said: str
) -> None:
    files = arrays(tmp_path, **changed)
    done = model_cli(built, "--weights", built.folder / "weights.bin",
                     *run_words(files, tmp_path / "out.npy"))  # fmt: skip
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "no command"),
        (["dance"], 2, "unknown command"),
        (["run", "--dance", "1"], 2, "unknown option"),
        (["run", "--input"], 2, "needs a value"),
        (["run", "--input", "y=a.npy"], 2, "y=a.npy"),
        (["run"], 2, "input input_ids: is missing"),
        (["run", "--input", "input_ids=/nowhere.npy"], 20, "/nowhere.npy"),
        (["run", "--input", "input_ids=/dev/null"], 21, "/dev/null"),
        (["bench", "--repeat", "many"], 23, "'many' is no number"),
        (["bench", "--repeat", "\t7"], 23, "is no number"),
        (["bench", "--repeat", "7\n8"], 23, "'7?8' is no number"),
        (["bench", "--repeat", "0"], 23, "at least 1"),
        (["bench", "--batch", "5"], 10, "limit batch: is 5"),
        (["bench", "--threads", "99999999"], 10, "threads"),
        (
            ["bench", "--threads", "2"],
            17,
            "threads: is 2, this build has 1; build with make THREADS",
        ),
        (["generate", "--ids", "1,2"], 2, "no generative model"),
        (["generate", "--ids", "1,x"], 23, "x"),
        (["--weights", "/nowhere", "bench"], 3, "/nowhere"),
        (["--weights", "/", "bench"], 3, "no regular file"),
    ],
)
def test_command_lines(built: Exported, words: list[str], status: int, said: str) -> None:
    weights = [] if "--weights" in words else ["--weights", str(built.folder / "weights.bin")]
    done = model_cli(built, *weights, *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_a_result_that_cannot_be_written(built: Exported, files: Files) -> None:
    weights = built.folder / "weights.bin"
    done = model_cli(built, "--weights", weights, *run_words(files, "/nowhere/out.npy"))
    assert done.returncode == 24 and "/nowhere/out.npy: cannot be written" in done.stderr


def test_weights_lie_beside_the_program(built: Exported, files: Files, tmp_path: Path) -> None:
    assert model_cli(built, *run_words(files, tmp_path / "out.npy")).returncode == 0


class Rows(torch.nn.Module):
    """Ids [batch, length] to rows of a table of more than one large page, doubled.

    Another table has a row more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(
            torch.arange(1 << 20, dtype=torch.float32).reshape(-1, 8)
        )
        self.more = torch.nn.Embedding.from_pretrained(torch.ones((1 << 17) + 1, 1))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.table(input_ids)
        return rows * 2 + self.more(input_ids)


def test_weights_of_several_large_pages_and_ids_of_two_tables(tmp_path: Path) -> None:
    need("make", "cc")
    ids = torch.tensor([[0, 1, (1 << 17) - 1]])
    exported = tc.compile(Rows().eval(), example_inputs=(ids,)).export_c(tmp_path)
    exported.build(flags=UNOPTIMISED)
    (found,) = exported.run({"input_ids": ids.numpy()}).values()
    np.testing.assert_array_equal(found, Rows()(ids).numpy())
    with pytest.raises(TcError, match="holds id 131072, the table has 0 to 131071"):
        exported.run({"input_ids": ids.numpy() + 1})


class Volume(torch.nn.Module):
    """Sums along two axes of five; more dims, and more sizes, than other models have."""

    def forward(self, x: torch.Tensor, scale: torch.Tensor, **rows: torch.Tensor) -> torch.Tensor:
        torch._assert_async(scale > 0, "scale\n\tmust be positive")
        total = scale + sum(row[0] for row in rows.values())
        return (x.cumsum(1).cumsum(2) * total)[..., None, None, None, None]


def test_a_call_needs_memory_for_its_own_sizes_alone(tmp_path: Path) -> None:
    need("make", "cc")
    x, rows = torch.randn(2, 3, 4, 5, 3), {f"row_{n}": torch.ones(n + 2) for n in range(14)}
    rows["scale"] = torch.tensor(2.0)
    exported = tc.compile(Volume().eval(), example_inputs={"x": x, **rows}).export_c(tmp_path)
    exported.build(flags=UNOPTIMISED)
    (arena,) = re.findall(r"arena: (\d+) bytes", exported.command("info"))
    assert int(arena) > 1 << 40  # at the limits
    for given in (x, x[:1, :2, :1], x[:, :1]):
        inputs = {"x": given, **rows}
        (found,) = exported.run({name: t.numpy() for name, t in inputs.items()}).values()
        np.testing.assert_allclose(found, Volume()(**inputs).numpy(), rtol=1e-5, atol=1e-6)
    inputs["scale"] = -rows["scale"]
    with pytest.raises(TcError, match="input value: scale must be positive"):
        exported.run({name: t.numpy() for name, t in inputs.items()})


def test_a_thousand_damaged_files_crash_nothing(
    built: Exported, files: Files, tmp_path: Path
) -> None:
    program = build_driver(built, "fuzz")
    words = [program, built.folder / "weights.bin", files["x"], tmp_path / "scratch", "1000"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) > 900


def test_instances_in_threads_allocate_nothing(built: Exported) -> None:
    wrap = "-Wl,--wrap=malloc,--wrap=calloc"
    program = build_driver(built, "many", wrap, "-pthread")
    words = [str(program), str(built.folder / "weights.bin")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "0 wrong, 0 allocated\n"), done.stderr


def test_what_is_linked_with_it_may_use_all_other_names(built: Exported) -> None:
    need("nm")
    words = ["nm", "-g", "--defined-only", str(built.folder / "libmodel.a")]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    names = [line.split()[2] for line in said.splitlines() if line.count(" ") == 2]
    assert "model_run" in names
    assert all(re.match("model_|kernel_|tile|_", name) for name in names), names


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TcError, match="cannot be written"):
        compiled_words().export_c(tmp_path / "file")


def test_what_fails_leaves_nothing_half_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise CompileError("no such kernel")

    monkeypatch.setattr("tc.standalone.export.write_model", fail)
    with pytest.raises(CompileError, match="no such kernel"):
        compiled_words().export_c(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bound", [0, -1, 1.5, "8", True])
def test_bounds_are_numbers(tmp_path: Path, bound: object) -> None:
    with pytest.raises(TcError, match="max_batch="):
        compiled_words().export_c(tmp_path, max_batch=bound)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("bake", "file"), [("all", False), ("auto", False), (100, True)])
def test_baked_weights(tmp_path: Path, bake: str | int, file: bool) -> None:
    need("make", "cc")
    most = 1 << 24
    exported = compiled_words().export_c(tmp_path, bake=bake, max_batch=most, max_length=most)
    assert (tmp_path / "weights.bin").exists() is file
    assert any(tmp_path.glob("kernels*.c")) is file  # else the model is one file
    exported.build(flags="-O0 -Werror")
    inputs = words_inputs()
    with torch.no_grad():
        wanted = Words()(**inputs).numpy()
    found = exported.run({name: tensor.numpy() for name, tensor in inputs.items()})
    np.testing.assert_allclose(found["output"], wanted, rtol=1e-5, atol=1e-6)
    if not file:
        return
    limits = re.findall(r"^(\w+): at most (\d+)$", exported.command("info"), re.MULTILINE)
    sizes = [word for name, value in limits for word in (f"--{name}", value)]
    for words, said in ((sizes, "an arena of"), (["--repeat", 10**15], "10{15} times")):
        done = model_cli(exported, "bench", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (8, "", 1)
        assert re.search(f"no memory for {said}", done.stderr)


def test_what_may_be_baked(tmp_path: Path) -> None:
    with pytest.raises(TcError, match="bake='some'.*use none, auto, all or bytes"):
        compiled_words().export_c(tmp_path, bake="some")
