"""Programs that were compiled before are found again, and only those that are the same.

A second compilation in one process stands in for one in another process; the real thing is tried
in test_recall_processes.py.
"""

from __future__ import annotations

import gc
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
from tests.models import Entry, families, shallow

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


@pytest.mark.usefixtures("captured_once", "plain")
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


def test_the_dispatcher_counts_a_program_that_was_found() -> None:
    hits(small())
    made = tc.compile(small(), example_inputs=(X,))
    dispatcher = dispatcher_of(made)
    assert dispatcher is not None
    assert dispatcher.stats["compilations"] == 1
