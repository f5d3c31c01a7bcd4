"""tc.compile, tc.load, tc.stats: a plain module through the whole of it, saved and loaded."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tc
from tc.frontend import model as front
from tests.frontend.plain_pipeline import compile_graph


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is tested here holds whatever the pipeline does; the plain one hides nothing."""
    monkeypatch.setattr(front, "pipeline", compile_graph)
    with torch.no_grad():
        yield


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.down(torch.relu(self.up(self.norm(x)))), -1)


class Modes(nn.Module):
    """Finding the most frequent value is no operator of the table."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        values, places = torch.mode(x * 2, dim=-1)
        return {"values": values + 1, "places": places}


def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def same(cm: Any, model: nn.Module, *shape: int) -> None:
    x = torch.randn(*shape)
    torch.testing.assert_close(cm(x), model(x), rtol=1e-5, atol=1e-6)


def test_any_shape_through_one_compilation() -> None:
    model = net()
    cm = tc.compile(model)
    assert type(cm) is Net
    for batch, length in ((3, 5), (1, 1), (2, 17), (0, 4), (64, 1)):
        same(cm, model, batch, length, 8)
    stats = cm.stats()
    assert stats["compilations"] == 1
    assert stats["calls"] == 5
    assert stats["kernels"] > 0
    assert stats["last_kernel_seconds"] > 0


def test_example_inputs_compile_at_once() -> None:
    cm = tc.compile(net(), example_inputs=(torch.zeros(2, 3, 8),))
    assert cm.stats()["compilations"] == 1
    assert cm.stats()["calls"] == 0


def test_baked_shapes() -> None:
    model = net()
    cm = tc.compile(model, dynamic=False, example_inputs=(torch.zeros(2, 3, 8),))
    same(cm, model, 2, 3, 8)
    assert cm.stats()["compilations"] == 1
    assert "f32[2, 3, 8]" in cm._tc_dispatcher.programs[0].runner.artifact.kernels[0].text


def test_changed_weights_are_noticed() -> None:
    model = net()
    cm = tc.compile(model)
    same(cm, model, 2, 3, 8)
    model.up.weight.mul_(3)
    same(cm, model, 2, 3, 8)
    model.load_state_dict({k: v + 0.1 for k, v in model.state_dict().items()})
    same(cm, model, 2, 3, 8)


def test_parameters_are_shared_and_results_are_fresh() -> None:
    model = net()
    cm = tc.compile(model)
    x = torch.randn(2, 3, 8)
    first = cm(x)
    kept = first.clone()
    assert cm(x + 1).data_ptr() != first.data_ptr()
    assert torch.equal(first, kept)
    assert {p.data_ptr() for p in cm.parameters()} == {p.data_ptr() for p in model.parameters()}


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(5, 3, 8).transpose(0, 1),
        torch.randn(4, 6, 8)[::2, 1::2],
        torch.randn(1, 1, 8).expand(3, 4, 8),
        torch.randn(2 * 3 * 8 + 1)[1:].view(2, 3, 8),
        torch.randn(2, 3, 8, dtype=torch.complex64).conj().imag,
        torch.randn(2, 3, 8, requires_grad=True),
    ],
    ids=["transposed", "strided", "expanded", "offset", "negated", "wants grad"],
)
def test_layouts(x: torch.Tensor) -> None:
    model = net()
    torch.testing.assert_close(tc.compile(model)(x), model(x), rtol=1e-5, atol=1e-6)


def test_inputs_are_not_written_to_unless_eager_does() -> None:
    class InPlace(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * 2).add_(1)

    x = torch.randn(3, 4)
    before = x.clone()
    tc.compile(InPlace())(x)
    assert torch.equal(x, before)


def test_many_threads() -> None:
    model = net()
    cm = tc.compile(model, example_inputs=(torch.zeros(2, 3, 8),))
    inputs = [torch.randn(n % 5 + 1, n % 7 + 1, 8) for n in range(64)]

    def call(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return cm(x)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(call, inputs))
    for x, y in zip(inputs, found, strict=True):
        torch.testing.assert_close(y, model(x), rtol=1e-5, atol=1e-6)
    assert cm.stats()["compilations"] == 1
    assert cm.stats()["calls"] == 64


def test_a_fallback_warns_once_and_is_counted() -> None:
    cm = tc.compile(Modes())
    x = torch.randn(3, 7)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, wanted = [cm(x) for _ in range(3)][-1], Modes()(x)
    assert len([w for w in caught if "aten.mode" in str(w.message)]) == 1
    torch.testing.assert_close(found["values"], wanted["values"])
    assert torch.equal(found["places"], wanted["places"])
    ((name, count),) = cm.stats()["fallbacks"].items()
    assert name.startswith("aten.mode") and count == 3
    assert "runs eagerly" in str(cm.explain())


def test_a_fallback_can_be_forbidden() -> None:
    with pytest.raises(tc.UnsupportedError, match="operator aten.mode.*fallback='error'"):
        tc.compile(Modes(), fallback="error", example_inputs=(torch.randn(3, 7),))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "abacus"}, "unknown target"),
        ({"target": 3}, "target=3"),
        ({"precision": "fp8"}, "precision='fp8': no such value; use 'fp32' or 'bf16' or 'int8'"),
        ({"threads": 0}, "threads=0"),
        ({"threads": 2.0}, "threads=2.0"),
        ({"fallback": "never"}, "fallback='never': no such value; use 'warn' or 'error'"),
        ({"dynamic": 1}, "dynamic=1"),
        ({"tuning_db": 5}, "tuning_db=5"),
        ({"example_inputs": 3}, "example_inputs of type int"),
    ],
)
def test_options_are_checked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(tc.UnsupportedError, match=said):
        tc.compile(net(), **options)


def test_a_deep_copy_has_weights_and_programs_of_its_own() -> None:
    model = net()
    cm = tc.compile(model, threads=1, example_inputs=(torch.zeros(2, 3, 8),))
    copied, x = copy.deepcopy(cm), torch.randn(2, 3, 8)
    assert type(copied) is Net and copied.stats()["compilations"] == 0
    model.up.weight.zero_()
    assert not torch.equal(copied(x), cm(x))
    copied.load_state_dict(model.state_dict())
    torch.testing.assert_close(copied(x), cm(x))
    assert copied.stats()["compilations"] == 1 and cm.stats()["compilations"] == 1


def test_a_compiled_model_says_why_it_cannot_be_pickled() -> None:
    with pytest.raises(tc.UnsupportedError, match="pickle of a compiled Net.*save.path"):
        pickle.dumps(tc.compile(net()))


def test_what_is_no_module() -> None:
    with pytest.raises(tc.UnsupportedError, match="not a torch.nn.Module"):
        tc.compile(lambda x: x)


def test_explain_is_a_table() -> None:
    cm = tc.compile(net())
    cm(torch.randn(2, 3, 8))
    explained = cm.explain()
    lines = str(explained).splitlines()
    assert lines[0].startswith("Net(x) [")
    assert lines[1].split()[:5] == ["kernel", "calls", "products", "shapes", "time"]
    assert len(lines) == 3 + len(explained.rows)
    assert lines[-1].startswith("barriers ")
    assert all(row.seconds > 0 for row in explained.rows)
    assert cm.stats()["calls"] > 1


def test_stats_of_the_process() -> None:
    before = tc.stats()
    cm = tc.compile(net())
    cm(torch.randn(2, 3, 8))
    after = tc.stats()
    assert set(after) == {
        "compilations", "kernels", "calls", "fallbacks", "cache_hits", "program_hits",
        "last_kernel_seconds",
    }  # fmt: skip
    assert after["compilations"] == before["compilations"] + 1
    assert after["calls"] == before["calls"] + 1


# --- saving and loading


def saved(path: Path, model: nn.Module, *example: torch.Tensor) -> Path:
    cm = tc.compile(model, example_inputs=example)
    cm.save(path)
    return path


@pytest.mark.parametrize("folder", [False, True])
def test_save_and_load(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "net.tc"
    if folder:
        path.mkdir()
    model = net()
    loaded = tc.load(saved(path, model, torch.zeros(2, 3, 8)))
    for shape in ((1, 1, 8), (4, 9, 8), (0, 3, 8)):
        x = torch.randn(*shape)
        wanted = model(x).numpy()
        np.testing.assert_allclose(loaded(x=x.numpy()), wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(loaded(x.numpy()), wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(loaded(x), model(x), rtol=1e-5, atol=1e-6)
    assert loaded.stats()["compilations"] == 0
    assert str(loaded.explain()).startswith("Net(x)")


LOAD = """
import sys
import numpy as np
import tc
y = tc.load(sys.argv[1])(x=np.load(sys.argv[2]))
np.save(sys.argv[3], y)
assert "torch" not in sys.modules
"""


def test_loading_needs_no_torch(tmp_path: Path) -> None:
    model, x = net(), torch.randn(3, 5, 8)
    path = saved(tmp_path / "net.tc", model, torch.zeros(2, 3, 8))
    np.save(tmp_path / "x.npy", x.numpy())
    args = [path, tmp_path / "x.npy", tmp_path / "y.npy"]
    subprocess.run([sys.executable, "-c", LOAD, *map(str, args)], check=True, timeout=60)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(x).numpy(), rtol=1e-5, atol=1e-6)


def test_code_of_another_machine_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tc.frontend import saved as saved_module

    model = net()
    path = saved(tmp_path / "net.tc", model, torch.zeros(2, 3, 8))
    lesser = tc.Target.parse("x86-64-v2 cores=1")
    monkeypatch.setattr(saved_module, "host_target", lambda: lesser)
    loaded = tc.load(path, threads=1)
    x = torch.randn(3, 5, 8)
    np.testing.assert_allclose(loaded(x.numpy()), model(x).numpy(), rtol=1e-5, atol=1e-6)
    assert loaded._programs[0].either.programs[0].artifact.target == str(lesser)


def test_results_by_name(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"sum": a + b, "product": a * b}

    x = np.ones((2, 3), np.float32)
    loaded = tc.load(saved(tmp_path / "t.tc", Two(), torch.zeros(4, 3), torch.zeros(4, 3)))
    out = loaded(b=x, a=x * 3)
    assert list(out) == ["sum", "product"]
    np.testing.assert_array_equal(out["sum"], x * 4)
    np.testing.assert_array_equal(out.product, x * 3)
    with pytest.raises(tc.TcError, match="was given a; it was compiled for a, b"):
        loaded(a=x)
    with pytest.raises(tc.TcError, match="input b"):
        loaded(a=x, b=x[:1])
    with pytest.raises(tc.TcError, match="input b: is of dtype float64"):
        loaded(a=x, b=x.astype(np.float64))


def test_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(tc.TcError, match="saving Net: nothing is compiled yet"):
        tc.compile(net()).save(tmp_path / "net.tc")


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_truncated_file(tmp_path: Path, size: int) -> None:
    path = saved(tmp_path / "net.tc", net(), torch.zeros(2, 3, 8))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(tc.CompileError, match="damaged or no saved program"):
        tc.load(path)
