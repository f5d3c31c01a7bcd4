"""Programs that were compiled before are found again, and only those that are the same.

A second compilation in one process stands in for one in another process, but where the process
itself is what is tested.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tc
from tc.codegen.cache import ObjectCache
from tc.errors import TcError
from tc.frontend.hf import dispatcher_of
from tests.frontend.recalls import X, hits, small
from tests.models import Entry, entry, families, shallow

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("programs")


@pytest.mark.usefixtures("captured_once")
@pytest.mark.parametrize("each", families(), ids=lambda each: each.name)
def test_a_model_that_was_compiled_is_found_and_gives_the_same_bits(each: Entry) -> None:
    first, second = tc.compile(each.build()), tc.compile(each.build())
    assert first.stats()["program_hits"] == 0  # type: ignore[operator]
    assert second.stats()["program_hits"] == 1  # type: ignore[operator]
    for inputs in each.variants():
        with torch.no_grad():
            one, two = first(**inputs), second(**inputs)
        assert type(one) is type(two)
        assert list(one) == list(two)
        for a, b in zip(_leaves(one), _leaves(two), strict=True):
            assert torch.equal(a, b)


def _leaves(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if torch.is_tensor(leaf)]


def test_weights_are_those_of_the_model_and_changes_are_noticed() -> None:
    assert hits(small(0)) == 0
    model = small(1)
    made = tc.compile(model, example_inputs=(X,))
    assert made.stats()["program_hits"] == 1  # type: ignore[operator]
    for change in (
        lambda: model.load_state_dict(small(2).state_dict()),
        lambda: setattr(model, "0", nn.Linear(4, 6)),
        lambda: nn.init.uniform_(model[0].weight),  # type: ignore[index, union-attr, arg-type]
    ):
        change()
        with torch.no_grad():
            torch.testing.assert_close(made(X), model(X), atol=1e-5, rtol=1e-5)


def test_collection_of_cycles_is_as_it_was_after_a_compilation() -> None:
    seen: list[bool] = []

    class Watching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(gc.isenabled())
            if x.ndim == 3:
                raise ValueError("refused")
            return x + 1

    tc.compile(Watching(), example_inputs=(X,))
    assert gc.isenabled() and not any(seen)
    with pytest.raises(TcError):
        tc.compile(Watching(), example_inputs=(X[None],))
    assert gc.isenabled()
    gc.disable()
    try:
        tc.compile(Watching(), example_inputs=(X,))
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_program_that_was_found_can_be_explained_saved_and_counted(tmp_path: Path) -> None:
    hits(small())
    model = small()
    made: Any = tc.compile(model, example_inputs=(X,))
    wanted = made(X)
    assert made.stats() == {
        "compilations": 1,
        "kernels": made.stats()["kernels"],
        "calls": 1,
        "fallbacks": {},
        "cache_hits": made.stats()["kernels"] + 2,  # the code of the call and of the preparation
        "program_hits": 1,
        "last_kernel_seconds": made.stats()["last_kernel_seconds"],
    }
    assert "gelu" in str(made.explain())
    made.save(tmp_path / "model.tc")
    assert torch.equal(tc.load(tmp_path / "model.tc")(input=X), wanted)


def test_what_generation_traces_and_other_arguments_are_found() -> None:
    each = shallow("t5")  # an encoder, a prompt and a step
    results, found = [], []
    for _ in range(2):
        made: Any = tc.compile(each.build())
        inputs = each.inputs(2, 7)
        made(**inputs, output_hidden_states=True)
        prompt = {k: v for k, v in inputs.items() if k != "decoder_input_ids"}
        results.append(made.generate(**prompt, max_new_tokens=4, do_sample=False))
        found.append(made.stats()["program_hits"])
        assert made.stats()["compilations"] >= 4
    assert torch.equal(results[0], results[1])
    assert found == [0, made.stats()["compilations"]]


class Caches(nn.Module):
    """Constants made while tracing, results of several kinds."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        table = torch.tensor([[0.5, -1.0, 2.0, 3.0]])
        return x * table, x + torch.tensor([1, 2, 3, 4])


def test_constants_that_were_made_while_tracing_are_kept() -> None:
    assert [hits(Caches()), hits(Caches())] == [0, 1]


class Sorted(nn.Module):
    """An operator that runs eagerly, between kernels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.inv(x @ x.T + torch.eye(3)) * 2.0


def test_operators_that_run_eagerly_are_kept_and_refused_where_forbidden() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [hits(Sorted()), hits(Sorted())] == [0, 1]
    with pytest.raises(tc.UnsupportedError, match="forbids"):
        tc.compile(Sorted(), example_inputs=(X,), fallback="error")


# --- damage


def entries(programs: Path) -> list[Path]:
    return list(programs.iterdir())


def test_a_damaged_entry_is_made_anew(programs: Path) -> None:
    assert hits(small()) == 0
    (file,) = entries(programs)
    for where in (0, 30, 60, 3000, -9000, -1):
        data = bytearray(file.read_bytes())
        data[where] ^= 4
        file.write_bytes(data)
        assert hits(small()) == 0, where
        assert hits(small()) == 1, where


def test_a_truncated_entry_is_made_anew(programs: Path) -> None:
    assert hits(small()) == 0
    (file,) = entries(programs)
    for keep in (0, 10, 500, 0.5, 0.99):
        data = file.read_bytes()
        file.write_bytes(data[: int(keep if keep >= 1 or not keep else keep * len(data))])
        assert hits(small()) == 0, keep
        assert hits(small()) == 1, keep


@pytest.mark.parametrize(
    "data", [b"", b"\x05" + bytes(7) + b"hello", b"\x02" + bytes(7) + b"{}", bytes(8)]
)
def test_an_entry_that_makes_no_sense_is_made_anew(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        put = ObjectCache.put
        patch.setattr(
            ObjectCache,
            "put",
            lambda self, key, real: put(
                self, key, data if self.folder.name == "programs" else real
            ),
        )
        assert hits(small()) == 0
    assert hits(small()) == 0
    assert hits(small()) == 1


def test_a_folder_that_cannot_be_used_is_warned_of_once(programs: Path) -> None:
    programs.mkdir(parents=True)
    programs.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="others may write") as told:
        assert [hits(small()), hits(small())] == [0, 0]
    assert len([w for w in told if "cache folder" in str(w.message)]) == 1
    assert entries(programs) == []


# --- processes

SCRIPT = """
import sys
import torch
import tc
from transformers import GPT2LMHeadModel

made = tc.compile(GPT2LMHeadModel.from_pretrained(sys.argv[1]))
with torch.no_grad():
    result = made(**torch.load(sys.argv[1] + "/inputs.pt"))
print("hits", made.stats()["program_hits"])
leaves = [t for t in torch.utils._pytree.tree_leaves(result) if torch.is_tensor(t)]
torch.save(leaves, sys.argv[1] + "/" + sys.argv[2])
"""

PLAIN = """
import sys
import torch
import tc

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.GELU(), torch.nn.LayerNorm(6)).eval()
made = tc.compile(model, example_inputs=(torch.ones(2, 4),))
made(torch.ones(5, 4))
print("hits", made.stats()["program_hits"])
unwanted = ("torch._dynamo", "torch._inductor", "sympy", "transformers", "tc.pipeline", "tc.ops",
            "torch.fx.experimental.symbolic_shapes", "tc.frontend.capture", "tc.schedule.defaults",
            "tc.codegen.c.kernel", "tc.codegen.llvm.emit", "tc.standalone.export")
print("imported", [name for name in unwanted if name in sys.modules])
"""


def run(script: str, *args: str, seed: str = "0") -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *args],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.usefixtures("cache_folder")
def test_another_process_finds_the_programs_and_computes_the_same(tmp_path: Path) -> None:
    each = entry("gpt2-lm")
    each.build().save_pretrained(tmp_path)
    torch.save(each.inputs(3, 17), tmp_path / "inputs.pt")
    cold = run(SCRIPT, str(tmp_path), "cold.pt", seed="1")
    warm = run(SCRIPT, str(tmp_path), "warm.pt", seed="2")
    assert (cold, warm) == ("hits 0\n", "hits 1\n")
    first, second = torch.load(tmp_path / "cold.pt"), torch.load(tmp_path / "warm.pt")
    assert first
    assert all(map(torch.equal, first, second))


@pytest.mark.usefixtures("cache_folder")
def test_a_process_that_finds_its_program_imports_nothing_that_traces_or_compiles() -> None:
    assert "hits 0" in run(PLAIN)
    warm = run(PLAIN)
    assert "hits 1" in warm
    assert "imported []" in warm


def test_the_dispatcher_counts_a_program_that_was_found() -> None:
    hits(small())
    made = tc.compile(small(), example_inputs=(X,))
    dispatcher = dispatcher_of(made)
    assert dispatcher is not None
    assert dispatcher.stats["compilations"] == 1
