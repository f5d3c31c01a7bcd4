"""A program that differs in anything that a trace could read is not found."""

from __future__ import annotations

import functools
import importlib.util
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

import tc
from tc.frontend.captured import Request
from tc.frontend.recall_key import description_of
from tests.frontend.recalls import X, hits, small
from tests.frontend.test_capture import assert_same
from tests.models import entry

pytestmark = pytest.mark.usefixtures("programs", "plain")


@dataclass
class Settings:
    scale: float = 2.0
    kind: str = "a"


FACTOR = 3.0
TABLE = {"factor": 1.0}


def helper(x: torch.Tensor) -> torch.Tensor:
    return x * FACTOR * TABLE["factor"]


class Scaled(nn.Module):
    """Reads plain attributes of every kind that can be told."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.other = nn.Linear(4, 4)
        self.register_buffer("shift", torch.ones(4))
        self.settings = Settings()
        self.factors = [1.0, 2.0]
        self.act = functools.partial(nn.functional.leaky_relu, negative_slope=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.linear(x)) * self.settings.scale + self.shift
        return self.other(x) * self.factors[1] + helper(x)


def scaled() -> Scaled:
    torch.manual_seed(0)
    return Scaled().eval()


def _tie(model: Scaled) -> None:
    model.other.weight = model.linear.weight


def _rename(model: Scaled) -> None:
    model.settings.scale = 5.0


CHANGES: dict[str, Callable[[Scaled], object]] = {
    "an attribute of settings": _rename,
    "an entry of a list": lambda m: m.factors.__setitem__(1, 7.0),
    "an argument of a partial": lambda m: setattr(
        m, "act", functools.partial(nn.functional.leaky_relu, negative_slope=0.5)
    ),
    "weights that are one": _tie,
    "a dtype": lambda m: setattr(m, "shift", torch.ones(4, dtype=torch.int32)),
    "a shape": lambda m: setattr(m, "shift", torch.ones(1, 4)),
    "a stride": lambda m: setattr(m.linear, "weight", nn.Parameter(m.linear.weight.T)),
    "a submodule's class": lambda m: setattr(m, "other", nn.Sequential(nn.Linear(4, 4))),
    "a submodule's attribute": lambda m: setattr(m.other, "note", 1),
    "a missing bias": lambda m: setattr(m.other, "bias", None),
}


def test_a_model_that_differs_is_compiled() -> None:
    assert hits(scaled()) == 0
    for name, change in CHANGES.items():
        model = scaled()
        change(model)
        assert hits(model) == 0, name
    assert hits(scaled()) == 1


def test_the_value_of_a_buffer_is_no_part_of_a_program() -> None:
    assert hits(scaled()) == 0
    model = scaled()
    model.shift.fill_(9.0)  # type: ignore[operator]
    assert hits(model) == 1


def test_globals_that_the_code_reads_are_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    here = sys.modules[__name__]
    assert [hits(scaled()), hits(scaled())] == [0, 1]
    monkeypatch.setattr(here, "FACTOR", 4.0)
    assert hits(scaled()) == 0
    monkeypatch.setitem(TABLE, "factor", 2.0)
    assert hits(scaled()) == 0
    monkeypatch.setattr(here, "helper", lambda x: x - 1)
    assert hits(scaled()) == 0
    monkeypatch.undo()


REPLACED: dict[str, tuple[Any, str, Any]] = {
    "method": (Scaled, "forward", lambda self, x: self.linear(x) - self.other(x)),
    "torch method": (nn.Linear, "forward", lambda self, x: x @ self.weight.T * 2),
    "torch function": (nn.functional, "leaky_relu", lambda x, negative_slope: x * negative_slope),
    "what a torch layer calls": (nn.functional, "linear", lambda x, weight, bias: x @ weight.T),
}


def test_code_that_was_replaced_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hits(scaled()) == 0
    for what, (owner, name, new) in REPLACED.items():
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, new)
            assert hits(scaled()) == 0, what
    assert hits(scaled()) == 1


def test_code_of_a_package_that_was_replaced_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.integrations import sdpa_attention
    from transformers.models.bert import modeling_bert

    def attend(*args: Any, **kwargs: Any) -> Any:
        output, weights = sdpa_attention.sdpa_attention_forward(*args, **kwargs)
        return output * 2.0, weights

    each = entry("bert-sequence")  # of one layer

    def compiled() -> int:
        model = each.build()
        made: Any = tc.compile(model)
        inputs = each.inputs(2, 5)
        with torch.no_grad():
            assert_same(made(**inputs), model(**inputs))
        found: int = made.stats()["program_hits"]
        return found

    assert [compiled(), compiled()] == [0, 1]
    with monkeypatch.context() as patch:  # a registry
        patch.setitem(modeling_bert.ALL_ATTENTION_FUNCTIONS._global_mapping, "sdpa", attend)
        assert compiled() == 0
    with monkeypatch.context() as patch:  # a method of a class
        own = modeling_bert.BertIntermediate.forward
        patch.setattr(modeling_bert.BertIntermediate, "forward", lambda s, x: own(s, x) * 2.0)
        assert compiled() == 0
    with monkeypatch.context() as patch:  # a function of the module
        patch.setattr(modeling_bert, "create_bidirectional_mask", lambda **_: None)
        assert compiled() == 0
    assert compiled() == 1


def test_the_settings_of_a_config_are_part_of_it() -> None:
    each = entry("bert-sequence")  # of one layer

    def compiled(change: Callable[[PreTrainedModel], object]) -> int:
        model = each.build()
        change(model)
        made: Any = tc.compile(model)
        inputs = each.inputs(2, 5)
        with torch.no_grad():
            assert_same(made(**inputs), model(**inputs))
        found: int = made.stats()["program_hits"]
        return found

    assert compiled(lambda m: None) == 0
    assert compiled(lambda m: None) == 1
    assert compiled(lambda m: setattr(m.config, "output_hidden_states", True)) == 0
    assert compiled(lambda m: setattr(m.config, "is_decoder", True)) == 0
    assert compiled(lambda m: m.set_attn_implementation("eager")) == 0


def test_each_set_of_options_has_programs_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for options in (
        {},
        {"threads": 2},
        {"precision": "bf16"},
        {"precision": "int8"},
        {"target": "generic"},
        {"dynamic": False},
    ):
        options = {"threads": 1, **options}
        assert [hits(small(), **options), hits(small(), **options)] == [0, 1]
    monkeypatch.setenv("TC_DUMP_IR", str(tmp_path / "dump"))
    assert hits(small(), threads=1) == 0  # the passes are to be seen


def test_each_kind_of_call_has_programs_of_its_own() -> None:
    double = torch.ones(3, 4, dtype=torch.float64)

    class Twice(nn.Module):
        def forward(self, x: torch.Tensor, n: float = 1.0) -> torch.Tensor:
            return x * n

    def found(*args: Any) -> object:
        made: Any = tc.compile(Twice(), example_inputs=args)
        assert torch.equal(made(*args), Twice()(*args))
        return made.stats()["program_hits"]

    calls = [(X,), (double,), (X, 2.0), (X, 3.0), (X[0],), (X.T,)]
    assert [found(*call) for call in calls] == [0] * len(calls)
    assert [found(*call) for call in calls] == [1] * len(calls)


def test_the_state_of_torch_is_part_of_it() -> None:
    model = small()
    assert [hits(model), hits(model)] == [0, 1]
    torch.set_default_dtype(torch.float64)
    try:
        assert hits(model) == 0
    finally:
        torch.set_default_dtype(torch.float32)
    assert hits(model) == 1


def _times(factor: float) -> nn.Module:
    class Times(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * factor if factor > 2 else x + factor

    return Times()


def test_classes_that_share_a_name_are_told_apart() -> None:
    def chain(*factors: float) -> nn.Module:
        return nn.Sequential(*map(_times, factors))

    assert [hits(chain(2.0, 3.0)), hits(chain(2.0, 3.0))] == [0, 1]
    assert hits(chain(3.0, 2.0)) == 0
    assert hits(chain(2.0, 2.0)) == 0


def test_modules_that_share_a_name_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
import torch

FACTOR = {factor}

class Module(torch.nn.Module):
    def forward(self, x):
        return x * FACTOR if FACTOR > 2 else x + FACTOR
"""

    def load(factor: float) -> nn.Module:
        made: nn.Module = _module(
            tmp_path, monkeypatch, "recall_source", text.format(factor=factor)
        ).Module()
        return made

    two, three = load(2.0), load(3.0)
    assert hits(nn.Sequential(two, three)) == 0
    assert hits(nn.Sequential(two, three)) == 1
    assert hits(nn.Sequential(three, two)) == 0


SOURCE = """
import torch
from {other} import scale

class Module(torch.nn.Module):
    def forward(self, x):
        return scale(x) + {number}
"""


def test_source_that_was_edited_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(number: float, factor: float) -> nn.Module:
        _module(tmp_path, monkeypatch, "recall_other", f"def scale(x):\n    return x * {factor}\n")
        text = SOURCE.format(other="recall_other", number=number)
        made: nn.Module = _module(tmp_path, monkeypatch, "recall_source", text).Module()
        return made

    assert [hits(load(1.0, 2.0)), hits(load(1.0, 2.0))] == [0, 1]
    assert hits(load(3.0, 2.0)) == 0
    assert hits(load(1.0, 5.0)) == 0
    assert hits(load(1.0, 2.0)) == 1


def test_what_counts_is_the_code_that_runs_not_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _module(tmp_path, monkeypatch, "recall_other", "def scale(x):\n    return x * 2\n")
    text = SOURCE.format(other="recall_other", number=1.0)
    old = _module(tmp_path, monkeypatch, "recall_source", text)
    (tmp_path / "recall_source.py").write_text(text.replace("+", "-"))
    assert hits(old.Module()) == 0
    new = _module(tmp_path, monkeypatch, "recall_source", text.replace("+", "-"))
    assert hits(new.Module()) == 0


def _module(folder: Path, patch: pytest.MonkeyPatch, name: str, text: str) -> types.ModuleType:
    file = folder / f"{name}.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__builtins__"] = __builtins__
    exec(compile(text, str(file), "exec"), module.__dict__)  # no .pyc, which goes by the time
    patch.setitem(sys.modules, name, module)
    return module


def test_where_caches_lie_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request.of(small(), (X,), {})
    before = description_of(request)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    assert description_of(request) == before
    monkeypatch.setenv("TORCHINDUCTOR_FREEZING", "1")
    assert description_of(request) != before
