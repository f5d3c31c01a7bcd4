"""The public functions of tc: compile, tune, load, build, devices, stats.

Each hands its work to the module that does it, imported at the first call, so that `import tc` is
instant and needs neither torch nor LLVM. This module must hold no logic of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from tc.config import read as read_config
from tc.target import Target

if TYPE_CHECKING:
    from tc.autotune.coverage import TunedDevice
    from tc.autotune.report import TuningReport
    from tc.device import Coverage, PhysicalDevice
    from tc.frontend.saved import LoadedModel
    from tc.ir.tensor import Tensor
    from tc.kernel import Kernel
    from tc.schedule.apply import Scheduled

ModelT = TypeVar("ModelT")


def compile(
    model: ModelT,
    target: str | Target = "host",
    *,
    precision: str = "fp32",
    threads: int | None = None,
    tuning_db: str | os.PathLike[str] | None = None,
    dynamic: bool = True,
    example_inputs: tuple[Any, ...] | Mapping[str, Any] | None = None,
    fallback: str = "warn",
    codegen: str = "llvm",
    tune: int = 0,
) -> ModelT:
    """A copy of a torch module that runs as machine code: same call, same results, same class.

    It serves any batch and length through one compilation for each set of arguments. Parameters
    are shared with `model`, and changes of them are noticed; those that PyTorch does not count, as
    through `.data` or NumPy, where they reach one of a few values of a tensor that are looked at.
    Attributes, hooks and inner modules that are set afterwards make it compile anew at the next
    call; what a list or a dict among the attributes holds is not looked at.
    Besides what `model` has, the copy has `stats()`, `explain()` and `save(path)`.

    Args:
        model: a torch.nn.Module, such as a Hugging Face model.
        target: what to compile for, as `Target.parse` takes it.
        precision: of products with constant weights, "fp32", "bf16" or "int8"; everything else,
            inputs and outputs stay as they are. `accuracy(inputs)` measures what that costs.
        threads: of a call; default: TC_NUM_THREADS, else the target's cores.
        tuning_db: file of tuning records; default: TC_TUNING_DB, else the cache
            folder's, else those that ship with tc; analytical schedules where none fits.
        dynamic: False bakes the sizes of each set of shapes.
        example_inputs: a call to compile for now; a Hugging Face model needs none, another module
            compiles at its first call without them.
        fallback: "warn" runs operators that tc lacks eagerly, and whole calls that cannot be
            traced; "error" forbids it.
        codegen: "llvm", or "c" to go through the C compiler of this machine.
        tune: measure so many schedules first, see `tc.tune`; those that were measured before count.

    Raises:
        UnsupportedError: an option or model that tc does not know, or an operator if forbidden.
        CompileError: the model cannot be traced, or there is no C compiler where one is wanted.
        TuningError: as `tune`, where something is to be tuned.
    """
    from tc.frontend.model import compile_model

    if tune:
        from tc.frontend.tuning import tune_first

        tune_first(
            model,
            target=target,
            example_inputs=example_inputs,
            trials=tune,
            tuning_db=tuning_db,
            precision=precision,
            threads=threads,
            dynamic=dynamic,
        )
    return compile_model(
        model,
        target=target,
        precision=precision,
        threads=threads,
        tuning_db=tuning_db,
        dynamic=dynamic,
        example_inputs=example_inputs,
        fallback=fallback,
        codegen=codegen,
    )


def tune(
    model: Any,
    *,
    target: str | Target = "host",
    example_inputs: tuple[Any, ...] | Mapping[str, Any] | None = None,
    trials: int = 512,
    tuning_db: str | os.PathLike[str] | None = None,
    seed: int = 0,
    time_limit: float | None = None,
    precision: str = "fp32",
    threads: int | None = None,
    dynamic: bool = True,
    cluster: str | None = None,
) -> TuningReport:
    """Measure schedules of a model's kernels, and keep what is found for `tc.compile`.

    A run that was stopped or killed goes on where it was when it is called again with the same
    seed and database; nothing is measured twice. For a target that this machine cannot run,
    schedules are ranked by what was learned on others and by their machine code, and the records
    say "predicted".

    Args:
        model: a torch.nn.Module, such as a Hugging Face model.
        example_inputs: a call of the sizes to tune for; a Hugging Face model has natural ones.
        trials: how many schedules to measure, of all kernels together.
        tuning_db: file of tuning records, made if it is not there; default: as `compile`.
        seed: of everything random.
        time_limit: seconds for the trials, or after which no other kernel is ranked.
        cluster: address of a dask scheduler whose workers measure, or "local:2".
        target, precision, threads, dynamic: as `compile`.

    Raises:
        TuningError: a number out of its range, a file that is no sound database, a model of which
            nothing can be tuned, or a cluster without workers for the target.
        UnsupportedError, CompileError: as `compile`.
    """
    from tc.frontend.tuning import tune_model

    return tune_model(
        model,
        target=target,
        example_inputs=example_inputs,
        trials=trials,
        tuning_db=tuning_db,
        seed=seed,
        time_limit=time_limit,
        precision=precision,
        threads=threads,
        dynamic=dynamic,
        cluster=cluster,
    )


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> LoadedModel:
    """A model that `save` wrote; needs no torch, and takes and gives NumPy arrays.

    Given torch tensors it gives torch tensors.

    Raises:
        CompileError: a file that is damaged, of another version, or for another machine.
    """
    from tc.frontend.saved import load_model

    return load_model(path, threads)


def build(
    what: Tensor | Sequence[Tensor] | Scheduled,
    target: str | Target = "host",
    *,
    constants: Sequence[Tensor] = (),
    threads: int | None = None,
    codegen: str = "llvm",
) -> Kernel:
    """Compile a tensor expression to a function of arrays; see `tc.kernel.build`."""
    from tc.kernel import build as build_kernel

    return build_kernel(what, target, constants=constants, threads=threads, codegen=codegen)


def devices(
    capability: str | None = None,
    where: Callable[[Any], bool] | None = None,
    prefer: str | None = None,
) -> list[PhysicalDevice]:
    """The devices that there are, or those that fulfil the conditions; see `tc.device.devices`."""
    from tc.device import devices as find_devices
    from tc.device import host_device

    host = host_device()
    host.coverage = _coverage
    return find_devices(capability, where, prefer, cache_dir=read_config().cache_dir)


def _coverage() -> Coverage | None:
    """What the user's tuning database knows of this host."""
    from tc.autotune.coverage import coverage_of
    from tc.device import host_device

    properties = host_device().properties
    return coverage_of(read_config().records, properties.target, properties.cpu)


def tuned_devices(tuning_db: str | os.PathLike[str] | None = None) -> list[TunedDevice]:
    """The devices that a tuning database has records of, those that are not at hand too.

    Args:
        tuning_db: the file; default: TC_TUNING_DB, else the cache folder's.

    Raises:
        TuningError: no such file, or no sound database.
    """
    from pathlib import Path

    from tc.autotune.coverage import tuned_devices as find

    return find(Path(tuning_db) if tuning_db is not None else read_config().records)


def stats() -> dict[str, object]:
    """The counters of all programs of this process: compilations, kernels, calls, fallbacks
    (operator -> count), cache_hits, last_kernel_seconds (inside compiled code, last call)."""
    from tc.device.run_stats import process_stats

    return process_stats()
