"""The contenders of the model rows: each function prepares one framework for one case.

Every contender is set up as its own documentation advises for fixed shapes on a CPU, in fp32
unless its name says otherwise, with as many threads as cores; a peer that is set up badly would
flatter tc. Each function runs in a worker process of its own, and imports its framework there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.onnx_export import onnx_path
from benchmarks.protocol import Array, Case
from benchmarks.worker import Prepared
from benchmarks.zoo import MODELS, case_inputs

CONTENDERS = {
    "tc": "benchmarks.contenders:tc",
    "eager": "benchmarks.contenders:eager",
    "inductor": "benchmarks.contenders:inductor",
    "onnxruntime": "benchmarks.contenders:onnxruntime",
    "openvino": "benchmarks.contenders:openvino",
}
REFERENCE = "benchmarks.contenders:reference"


def thread_count() -> int:
    """Cores that this worker is pinned to."""
    return len(os.sched_getaffinity(0))


def first_output(result: Any) -> Array:
    """The first output of a Hugging Face model as an array."""
    array: Array = result[0].detach().numpy()
    return array


def torch_case(case: Case) -> tuple[Any, dict[str, Any]]:
    """The case's module and its arguments as tensors."""
    import torch

    torch.set_num_threads(thread_count())
    tensors = {name: torch.from_numpy(array) for name, array in case_inputs(case).items()}
    return MODELS[str(case["model"])].build(), tensors


def without_grad(call: Callable[..., Any], given: dict[str, Any]) -> Prepared:
    """The call with its arguments, under no_grad."""
    import torch

    def run() -> Any:
        with torch.no_grad():
            return call(**given)

    return Prepared(run, first_output)


def reference(case: Case) -> Prepared:
    """PyTorch eager in float64: what every contender must agree with."""
    module, given = torch_case(case)
    wide = {name: t.double() if t.is_floating_point() else t for name, t in given.items()}
    made = without_grad(module.double(), wide)
    return replace(made, facts={"flops": operations(module, made.call)})


def operations(module: Any, call: Callable[[], Any]) -> float:
    """Floating-point operations of the products of one call, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    # Attention as plain products: the fused operator for CPUs is not counted.
    module.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def eager(case: Case) -> Prepared:
    """PyTorch eager."""
    return without_grad(*torch_case(case))


def inductor(case: Case) -> Prepared:
    """torch.compile with Inductor, weights frozen and packed, shapes fixed."""
    import torch
    import torch._inductor.config as config

    config.freezing = True
    config.compile_threads = 1  # no pool of compiler processes left beside the timings
    module, given = torch_case(case)
    compiled: Any = torch.compile(module, dynamic=False)
    prepared = without_grad(compiled, given)
    prepared.call()  # the first call compiles
    return prepared


def inductor_bf16(case: Case) -> Prepared:
    """The same under autocast to bf16."""
    import torch

    with torch.autocast("cpu", torch.bfloat16):
        prepared = inductor(case)

    def run() -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return prepared.call()

    return Prepared(run, lambda result: result[0].detach().float().numpy())


def tc(case: Case, **options: Any) -> Prepared:
    """tc.compile with default options."""
    import tc

    compile_model: Any = tc.compile
    module, given = torch_case(case)
    return without_grad(compile_model(module, target="host", **options), given)


def tc_bf16(case: Case) -> Prepared:
    """tc.compile in bf16."""
    return tc(case, precision="bf16")


def tc_int8(case: Case) -> Prepared:
    """tc.compile in int8."""
    return tc(case, precision="int8")


def onnxruntime(case: Case) -> Prepared:
    """ONNX Runtime, all graph optimisations, symbolic dimensions fixed to the row's."""
    import onnx
    import onnxruntime as ort

    path, given = onnx_path(str(case["model"])), case_inputs(case)
    options = ort.SessionOptions()
    options.intra_op_num_threads = thread_count()
    # Its default spins long after a call, into the next contender's block; a millisecond bridges
    # the gaps within a call and between the calls of a block.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "1000")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    graph = onnx.load(str(path), load_external_data=False).graph
    for value in graph.input:
        for dim, size in zip(
            value.type.tensor_type.shape.dim, given[value.name].shape, strict=True
        ):
            if dim.dim_param:
                options.add_free_dimension_override_by_name(dim.dim_param, size)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [session.get_outputs()[0].name]
    feed = {value.name: given[value.name] for value in session.get_inputs()}
    return Prepared(lambda: session.run(names, feed), lambda outputs: outputs[0])


def openvino(case: Case, precision: str = "f32") -> Prepared:
    """OpenVINO in f32 (its default would choose bf16), latency hint, shapes fixed."""
    import openvino as ov

    given = case_inputs(case)
    core = ov.Core()
    model = core.read_model(onnx_path(str(case["model"])))
    given = {port.any_name: given[port.any_name] for port in model.inputs}
    model.reshape({name: list(array.shape) for name, array in given.items()})
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": thread_count(),
    }
    request = core.compile_model(model, "CPU", options).create_infer_request()

    def run() -> Any:
        return request.infer(given, share_inputs=True, share_outputs=True)

    return Prepared(run, lambda outputs: outputs[0].copy())


def openvino_bf16(case: Case) -> Prepared:
    """The same in bf16."""
    return openvino(case, "bf16")
