"""Callables in machine code, and what they need of this Python and this PyTorch.

Where a part is missing or behaves otherwise there are none, and calls go the long way. This module
must not know what is served.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from tc.codegen.cache import ObjectCache
from tc.codegen.direct import Offsets, State
from tc.config import read as config
from tc.frontend.tensor_kind import tells_apart
from tc.frontend.tensor_layout import WORD, layout, read
from tc.target import Target

_BUFFER: Final = 16  # in a ctypes array, behind the reference count and the type
# Arguments in a tuple and a dict, as Module.__call__ has them: for another kind of function they
# would be made an array of first.
_VARARGS_WITH_KEYWORDS: Final = 0x0003
_LIBRARIES: Final = Path(torch.__file__).parent / "lib"

Call = Callable[..., Any]


def builtin(state: ctypes.Array[ctypes.c_int64]) -> Call | None:
    """A built-in function over a `State`, which it keeps alive; None: there are none here."""
    code, mode, autocast = _code(), _inference_mode(), _autocast()
    if code is None or mode is None or autocast is None:
        return None
    state[State.TRUE], state[State.TENSOR] = id(True), id(torch.Tensor)
    state[State.INFERENCE], state[State.AUTOCAST] = mode, autocast
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    found: Call = make(ctypes.addressof(code), state, None)
    return found


class _MethodDef(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


@functools.cache
def _code() -> _MethodDef | None:
    """The machine code of every direct call; None where this Python or PyTorch is another."""
    places, scratch = layout(), (ctypes.c_int64 * State.FIRST)()
    known = sys.implementation.name == "cpython" and struct.calcsize("P") == WORD
    if places is None or not known or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    if not _guard_works() or not hasattr(ctypes.pythonapi, "PyODict_SetItem"):
        return None
    if read(id(scratch) + _BUFFER) != ctypes.addressof(scratch):
        return None
    from tc.codegen.llvm.direct import direct_call

    offsets = Offsets(_BUFFER, places.handle, places.storage, places.offset, places.data)
    cache = ObjectCache(config().cache_dir, "direct")
    address = direct_call(Target.parse("host"), offsets, cache)
    return _MethodDef(b"call", address, _VARARGS_WITH_KEYWORDS, None)


@functools.cache
def _inference_mode() -> int | None:
    """The address of PyTorch's own function that tells whether inference mode is on."""
    try:
        function = ctypes.CDLL(str(_LIBRARIES / "libc10.so"))._ZN3c1013InferenceMode10is_enabledEv
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_bool
    for mode in (True, False):
        with torch.inference_mode(mode=mode):
            if function() is not mode:
                return None
    return ctypes.cast(function, ctypes.c_void_p).value


@functools.cache
def _autocast() -> int | None:
    """The address of PyTorch's own function that tells whether autocast is on for a device."""
    try:
        library = ctypes.CDLL(str(_LIBRARIES / "libtorch_cpu.so"))
        function = library._ZN2at8autocast19is_autocast_enabledEN3c1010DeviceTypeE
    except (OSError, AttributeError):
        return None
    function.restype, function.argtypes = ctypes.c_bool, (ctypes.c_int8,)
    for on in (True, False):
        with torch.autocast("cpu", enabled=on):
            if function(0) is not on:
                return None
    return ctypes.cast(function, ctypes.c_void_p).value


def accepting(tensors: Sequence[torch.Tensor]) -> Call | None:
    """A function that tells whether its arguments are tensors like these.

    It compares class, dtype, sizes, strides, device, layout, whether gradients are required, and
    the modes and views that dispatch keys tell of. None where these are not like themselves.
    """
    guards: Any = torch._C._dynamo.guards  # its own types say less than it takes
    sizes = [list(tensor.shape) for tensor in tensors]
    strides = [list(tensor.stride()) for tensor in tensors]
    made = guards.TensorGuards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides)
    check: Call = made.check
    return check if check(*tensors) else None


@functools.cache
def _guard_works() -> bool:
    """Whether that function is there and tells apart what it has to: it is not documented."""
    beside = torch.ones(5)

    def like(tensor: torch.Tensor) -> Callable[[Any], bool]:
        accepts = accepting([tensor, beside])
        return lambda other: accepts is not None and accepts(other, torch.zeros(5))

    return tells_apart(like)
