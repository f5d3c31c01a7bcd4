"""A compiled program as the bytes of a cache entry, without its weights, and back.

    eight bytes: the length of the description
    the description: JSON
    the machine code of each entry of the program
    the constants that were made while tracing, as safetensors

Weights are named, and taken from the model that is compiled. This module must not read files.
"""

from __future__ import annotations

import json
from typing import Any

import torch

from tc.device.artifact import Artifact
from tc.device.artifact_io import from_json, to_json
from tc.errors import CompileError
from tc.frontend import recall_tree
from tc.frontend.captured import Interface, Request, Weight, own_tensors
from tc.frontend.signature import Signature
from tc.frozen import frozen

_LENGTH = 8


@frozen
class Built:
    """A compiled program of a model.

    Attributes:
        interface: its two ends.
        artifact: what runs.
        order: which of the interface's weights each of the artifact's parameters is.
        cache_hits: compiled objects that were found in the cache folder.
        recalled: whether the whole program was.
    """

    interface: Interface
    artifact: Artifact
    order: tuple[int, ...]
    cache_hits: int
    recalled: bool = False


def to_bytes(built: Built) -> bytes:
    """The entry for a program.

    Raises:
        TypeError: a result of a class that cannot be named.
    """
    interface, artifact = built.interface, built.artifact
    constants = {w.name: w.tensor for w in interface.weights if w.constant}
    described = {
        "artifact": to_json(artifact),
        "code": [len(code.data) for code in artifact.code],
        "signature": interface.signature.to_json(),
        "result": recall_tree.to_json(interface.result),
        "weights": [[weight.name, weight.constant] for weight in interface.weights],
        "order": list(built.order),
        "settled": interface.settled,
    }
    text = json.dumps(described, allow_nan=False).encode()
    code = [each.data for each in artifact.code]
    return b"".join((len(text).to_bytes(_LENGTH, "little"), text, *code, _packed(constants)))


def from_bytes(data: bytes, request: Request) -> Built | None:
    """The program of an entry on the weights of the model; None where the entry makes no sense."""
    try:
        return _read(memoryview(data), request)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, CompileError):
        return None


def _read(data: memoryview, request: Request) -> Built:
    length = int.from_bytes(data[:_LENGTH], "little")
    described = json.loads(bytes(data[_LENGTH : _LENGTH + length]))
    rest = data[_LENGTH + length :]
    code = []
    for size in described["code"]:
        code.append(bytes(rest[:size]))
        rest = rest[size:]
    artifact = from_json(described["artifact"], code)
    weights = _weights(described["weights"], _unpacked(bytes(rest)), request.model)
    order = tuple(int(number) for number in described["order"])
    for number, info in zip(order, artifact.params, strict=True):
        if tuple(weights[number].tensor.shape) != info.shape:
            raise ValueError(f"{info.name} has another shape")
    interface = Interface(
        weights,
        Signature.from_json(described["signature"]),
        request.arguments,
        recall_tree.from_json(described["result"]),
        tuple((str(name), value) for name, value in described["settled"]),
    )
    return Built(interface, artifact, order, len(artifact.kernels) + len(code), recalled=True)


def _weights(
    named: Any, constants: dict[str, torch.Tensor], model: torch.nn.Module
) -> tuple[Weight, ...]:
    own = own_tensors(model)
    return tuple(
        Weight(name, constants[name] if constant else own[name], bool(constant))
        for name, constant in named
    )


def _packed(constants: dict[str, torch.Tensor]) -> bytes:
    if not constants:
        return b""
    from safetensors.torch import save

    dense = {name: tensor.detach().clone().contiguous() for name, tensor in constants.items()}
    return save(dense)


def _unpacked(data: bytes) -> dict[str, torch.Tensor]:
    if not data:
        return {}
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
