"""Programs that were compiled before are found again, and only those that are the same.

A second compilation in one process stands in for one in another process, but where the process
itself is what is tested.
"""

from __future__ import annotations

import enum
import functools
import importlib.util
import os
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from transformers import PreTrainedModel

import tc
from tc.codegen.llvm.cache import ObjectCache
from tc.frontend.captured import Request
from tc.frontend.hf import dispatcher_of
from tc.frontend.options import Options
from tc.frontend.recall_key import key_of
from tc.frontend.recall_walk import IndescribableError
from tests.frontend.test_capture import assert_same
from tests.models import Entry, entry, zoo

ROOT = Path(__file__).resolve().parents[2]
X = torch.linspace(-1, 1, 12).reshape(3, 4)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of each test's own."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("TC_CACHE_DIR", str(cache))
    return cache


def hits(model: nn.Module, *args: torch.Tensor, **options: Any) -> int:
    """Compile, check the results against eager, and tell how many programs were found."""
    made = tc.compile(model, example_inputs=args or (X,), **options)
    with torch.no_grad():
        bound = 0.05 if options.get("precision", "fp32") != "fp32" else 1e-5
        for mine, theirs in zip(
            _flat(made(*(args or (X,)))), _flat(model(*(args or (X,)))), strict=True
        ):
            torch.testing.assert_close(mine, theirs, atol=bound, rtol=bound)
    found = made.stats()["program_hits"]  # type: ignore[operator]
    assert isinstance(found, int)
    return found


def _flat(value: Any) -> list[torch.Tensor]:
    return [value] if isinstance(value, torch.Tensor) else list(value)


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.LayerNorm(6)).eval()


# --- found


@pytest.mark.parametrize("each", zoo(), ids=lambda each: each.name)
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


@pytest.mark.parametrize("name", ["gpt2-lm", "t5"])
def test_what_generation_traces_and_other_arguments_are_found(name: str) -> None:
    each = entry(name)
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


# --- not found, for something is different


@dataclass
class Settings:
    scale: float = 2.0
    kind: str = "a"


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


FACTOR = 3.0
TABLE = {"factor": 1.0}


def helper(x: torch.Tensor) -> torch.Tensor:
    return x * FACTOR * TABLE["factor"]


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


@pytest.mark.parametrize("name", CHANGES)
def test_a_model_that_differs_is_compiled(name: str) -> None:
    assert hits(scaled()) == 0
    assert hits(scaled()) == 1
    model = scaled()
    CHANGES[name](model)
    assert hits(model) == 0


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


@pytest.mark.parametrize(
    ("owner", "name", "new"),
    [
        (Scaled, "forward", lambda self, x: self.linear(x) - self.other(x)),
        (nn.Linear, "forward", lambda self, x: x @ self.weight.T * 2),
        (nn.functional, "leaky_relu", lambda x, negative_slope: x * negative_slope),
        (nn.functional, "linear", lambda x, weight, bias: x @ weight.T),
    ],
    ids=["method", "torch method", "torch function", "what a torch layer calls"],
)
def test_code_that_was_replaced_is_seen(
    owner: Any, name: str, new: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits(scaled())
    monkeypatch.setattr(owner, name, new)
    assert hits(scaled()) == 0


def test_code_of_a_package_that_was_replaced_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.integrations import sdpa_attention
    from transformers.models.bert import modeling_bert

    def attend(*args: Any, **kwargs: Any) -> Any:
        output, weights = sdpa_attention.sdpa_attention_forward(*args, **kwargs)
        return output * 2.0, weights

    each = entry("bert")

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
    def compiled(change: Callable[[PreTrainedModel], object]) -> int:
        model = entry("bert").build()
        change(model)
        made: Any = tc.compile(model)
        inputs = entry("bert").inputs(2, 5)
        with torch.no_grad():
            assert_same(made(**inputs), model(**inputs))
        found: int = made.stats()["program_hits"]
        return found

    assert compiled(lambda m: None) == 0
    assert compiled(lambda m: None) == 1
    assert compiled(lambda m: setattr(m.config, "output_hidden_states", True)) == 0
    assert compiled(lambda m: setattr(m.config, "is_decoder", True)) == 0
    assert compiled(lambda m: m.set_attn_implementation("eager")) == 0


def test_each_set_of_options_has_programs_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setenv("TC_DUMP_IR", str(Path(os.environ["TC_CACHE_DIR"]) / "dump"))
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


# --- never kept, for it cannot be told


class Custom:
    factor = 2.0


class Holder(nn.Module):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.value = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(x)
        return y


def _hooked(kind: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = small()
        if kind == "pre":
            model[1].register_forward_pre_hook(lambda _m, args: (args[0] * 2,))
        else:
            model[0].register_forward_hook(lambda _m, _a, out: out * 2)  # type: ignore[index, operator, union-attr]
        return model

    return make


def _patched() -> nn.Module:
    model = small()
    inner: nn.Linear = model[0]  # type: ignore[index]
    inner.forward = lambda x: torch.nn.functional.linear(x, inner.weight) * 3  # type: ignore[method-assign]
    return model


SCALES = torch.ones(4)


class ReadsTensor(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * SCALES


class ReadsEnvironment(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(os.environ.get("TEST_RECALL_SCALE", "1"))


def _local_result() -> nn.Module:
    class Result(NamedTuple):
        y: torch.Tensor

    class Gives(nn.Module):
        def forward(self, x: torch.Tensor) -> Result:
            return Result(x * 2.0)

    return Gives()


# How it is made, and what the message says of it.
UNTOLD: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "hook": (_hooked("post"), "^0: hooks"),
    "pre-hook": (_hooked("pre"), "^1: hooks"),
    "forward of its own": (_patched, "^0: a forward of its own"),
    "lambda": (lambda: Holder(lambda x: x), "value: a function that no module names"),
    "object": (lambda: Holder(Custom()), "value: a value of type .*Custom"),
    "tensor": (lambda: Holder(torch.ones(4)), "value: a tensor"),
    "tensor in a list": (lambda: Holder([torch.ones(4)]), "value: a tensor"),
    "bound method": (lambda: Holder(small().forward), "value: a method"),
    "parametrization": (
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4))),
        "^0: parametrizations",
    ),
    "environment": (ReadsEnvironment, "forward uses environ"),
    "global tensor": (ReadsTensor, "a value of type torch.Tensor"),
}


@pytest.mark.parametrize("name", UNTOLD)
def test_a_model_that_cannot_be_told_exactly_has_no_key(name: str) -> None:
    make, said = UNTOLD[name]
    with pytest.raises(IndescribableError, match=said):
        key_of(Request.of(make().eval(), (X,), {}), Options.of(), "pipeline")


@pytest.mark.parametrize("name", ["hook", "forward of its own", "tensor", "global tensor"])
def test_a_model_without_a_key_is_compiled_each_time(name: str) -> None:
    make, _ = UNTOLD[name]
    assert [hits(make().eval()), hits(make().eval())] == [0, 0]


def test_a_result_whose_class_has_no_name_is_compiled_each_time() -> None:
    assert [hits(_local_result()), hits(_local_result())] == [0, 0]


def test_hooks_of_all_modules_leave_no_key() -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda _m, _a, out: out)
    try:
        with pytest.raises(IndescribableError, match="hooks of all modules"):
            key_of(Request.of(small(), (X,), {}), Options.of(), "pipeline")
    finally:
        handle.remove()


class Methods(nn.Module):
    """What its forward does not reach may be anything."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = os.environ.get("HOME")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2.0

    def report(self) -> object:
        return open(os.devnull).read(), Custom()


class Computed(Methods):
    """Reaches a method by a name that it computes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        getattr(self, "re" + "port")()
        return x * 3.0


def test_only_what_a_call_reaches_need_be_told() -> None:
    assert [hits(Methods()), hits(Methods())] == [0, 1]
    assert [hits(Computed()), hits(Computed())] == [0, 0]


class Colour(enum.Enum):
    RED = 1


TOLD: dict[str, Any] = {
    "enum": Colour.RED,
    "dataclass": Settings(),
    "namespace": types.SimpleNamespace(a=1, b=[2.0]),
    "dict": {"a": (1, None), "b": torch.float32},
    "function": helper,
    "class": nn.GELU,
    "set": {"x", "y", "z"},
}


@pytest.mark.parametrize("name", TOLD)
def test_plain_attributes_can_be_told(name: str) -> None:
    assert [hits(Holder(TOLD[name])), hits(Holder(TOLD[name]))] == [0, 1]


# --- damage


def entries(folder: Path) -> list[Path]:
    return list((folder / "programs").iterdir())


@pytest.mark.parametrize("where", [0, 30, 60, 3000, -9000, -1])
def test_a_damaged_entry_is_made_anew(folder: Path, where: int) -> None:
    assert hits(small()) == 0
    (file,) = entries(folder)
    data = bytearray(file.read_bytes())
    data[where] ^= 4
    file.write_bytes(data)
    assert hits(small()) == 0
    assert hits(small()) == 1


@pytest.mark.parametrize("keep", [0, 10, 500, 0.5, 0.99])
def test_a_truncated_entry_is_made_anew(folder: Path, keep: float) -> None:
    assert hits(small()) == 0
    (file,) = entries(folder)
    data = file.read_bytes()
    file.write_bytes(data[: int(keep if keep >= 1 or not keep else keep * len(data))])
    assert hits(small()) == 0
    assert hits(small()) == 1


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


def test_a_folder_that_cannot_be_used_is_warned_of_once(folder: Path) -> None:
    folder.mkdir()
    (folder / "programs").mkdir()
    (folder / "programs").chmod(0o777)
    with pytest.warns(RuntimeWarning, match="others may write") as told:
        assert [hits(small()), hits(small())] == [0, 0]
    assert len([w for w in told if "cache folder" in str(w.message)]) == 1
    assert entries(folder) == []


# --- processes

SCRIPT = """
import sys
import torch
import tc
from tests.models import entry

out = {}
for name in ("bert", "gpt2-lm", "t5"):
    each = entry(name)
    model = each.build()
    made = tc.compile(model)
    with torch.no_grad():
        result = made(**each.inputs(3, 17))
    out[name] = [t for t in torch.utils._pytree.tree_leaves(result) if torch.is_tensor(t)]
    print(name, made.stats()["program_hits"])
torch.save(out, sys.argv[1])
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
            "torch.fx.experimental.symbolic_shapes", "tc.frontend.capture", "tc.schedule.defaults")
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


def test_another_process_finds_the_programs_and_computes_the_same(tmp_path: Path) -> None:
    cold = run(SCRIPT, str(tmp_path / "cold.pt"), seed="1")
    warm = run(SCRIPT, str(tmp_path / "warm.pt"), seed="2")
    assert [line.split()[1] for line in cold.splitlines()] == ["0"] * 3
    assert [line.split()[1] for line in warm.splitlines()] == ["1"] * 3
    first, second = torch.load(tmp_path / "cold.pt"), torch.load(tmp_path / "warm.pt")
    for name, tensors in first.items():
        for a, b in zip(tensors, second[name], strict=True):
            assert torch.equal(a, b)


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
