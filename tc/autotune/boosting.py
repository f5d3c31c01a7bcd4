"""XGBoost by its C interface: boosted trees trained, asked, and kept as JSON or UBJ.

Its Python package takes two seconds to import, most of them for what is not needed here (scipy and
scikit-learn), while a search of a minute waits; the library alone takes some milliseconds. Where it
does not lie in the package, the package is asked for it. Names are those of xgboost/c_api.h, which
xgboost keeps stable. This module must not know what is learned.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

_NAMES: Final = b"feature_name"
_LIBRARIES: Final = ("libxgboost.so", "libxgboost.dylib", "xgboost.dll")


class BoostingError(Exception):
    """XGBoost says no; its first line says why."""


class Trees:
    """Boosted trees over named features."""

    def __init__(self, matrix: ctypes.c_void_p | None = None) -> None:
        """Without a tree; those that are to learn are told of the rows at once.

        Raises:
            ImportError: XGBoost is not installed.
        """
        self._library = _library()
        self._handle = ctypes.c_void_p()
        known = [] if matrix is None else [matrix]
        rows = (ctypes.c_void_p * len(known))(*known)
        out = ctypes.byref(self._handle)
        self._call("XGBoosterCreate", rows, ctypes.c_uint64(len(known)), out)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.XGBoosterFree(self._handle)

    @staticmethod
    def of(data: bytes) -> Trees:
        """Those that `data` gave, or that are in a file of XGBoost's.

        Raises:
            BoostingError: there are none in it.
            ImportError: as always.
        """
        made = Trees()
        made._read(data)
        return made

    def data(self, form: str = "ubj") -> bytes:
        """All of it as "ubj" or "json"."""
        size, start = ctypes.c_uint64(), ctypes.c_void_p()
        wanted = json.dumps({"format": form}).encode()
        out = (ctypes.byref(size), ctypes.byref(start))
        self._call("XGBoosterSaveModelToBuffer", self._handle, wanted, *out)
        return ctypes.string_at(start.value or 0, size.value)

    def trained(
        self,
        rows: Any,
        labels: Any,
        names: Sequence[str],
        parameters: Mapping[str, object],
        rounds: int,
    ) -> Trees:
        """These trees and so many more, which learned from rows of f32."""
        with self._matrix(rows, names) as matrix:
            found = np.ascontiguousarray(labels, np.float32)
            address = found.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            size = ctypes.c_uint64(len(found))
            self._call("XGDMatrixSetFloatInfo", matrix, b"label", address, size)
            made = Trees(matrix)
            if self.names:
                made._read(self.data())
            for name, value in parameters.items():
                made._call("XGBoosterSetParam", made._handle, name.encode(), str(value).encode())
            for number in range(rounds):
                made._call("XGBoosterUpdateOneIter", made._handle, ctypes.c_int(number), matrix)
        made._call("XGBoosterSetStrFeatureInfo", made._handle, _NAMES, *_texts(names))
        return made

    def predict(self, rows: Any) -> list[float]:
        """What the trees say of each row."""
        wanted = {"type": 0, "training": False, "iteration_begin": 0, "iteration_end": 0}
        settings = json.dumps({**wanted, "strict_shape": False}).encode()
        shape, dims = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64()
        result = ctypes.POINTER(ctypes.c_float)()
        with self._matrix(rows, self.names) as matrix:
            out = (ctypes.byref(shape), ctypes.byref(dims), ctypes.byref(result))
            self._call("XGBoosterPredictFromDMatrix", self._handle, matrix, settings, *out)
            return [float(result[n]) for n in range(len(rows))]

    @property
    def names(self) -> list[str]:
        """The features' names; none where nothing was learned."""
        size, found = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_char_p)()
        out = (ctypes.byref(size), ctypes.byref(found))
        self._call("XGBoosterGetStrFeatureInfo", self._handle, _NAMES, *out)
        return [(found[n] or b"").decode() for n in range(size.value)]

    def note(self, name: str, value: str) -> None:
        """Keep a text with the trees."""
        self._call("XGBoosterSetAttr", self._handle, name.encode(), value.encode())

    def noted(self, name: str) -> str | None:
        """The text that was kept under this name."""
        found, known = ctypes.c_char_p(), ctypes.c_int()
        out = (ctypes.byref(found), ctypes.byref(known))
        self._call("XGBoosterGetAttr", self._handle, name.encode(), *out)
        return (found.value or b"").decode() if known.value else None

    def _read(self, data: bytes) -> None:
        if not data.startswith(b"{"):  # as an object does in either form; others end the process
            raise BoostingError("neither JSON nor UBJ")
        size = ctypes.c_uint64(len(data))
        self._call("XGBoosterLoadModelFromBuffer", self._handle, data, size)

    @contextlib.contextmanager
    def _matrix(self, rows: Any, names: Sequence[str]) -> Iterator[ctypes.c_void_p]:
        data = np.ascontiguousarray(rows, np.float32)
        matrix = ctypes.c_void_p()
        values = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        size = (ctypes.c_uint64(data.shape[0]), ctypes.c_uint64(data.shape[1]))
        missing = ctypes.c_float(float("nan"))
        self._call("XGDMatrixCreateFromMat", values, *size, missing, ctypes.byref(matrix))
        try:
            self._call("XGDMatrixSetStrFeatureInfo", matrix, _NAMES, *_texts(names))
            yield matrix
        finally:
            self._library.XGDMatrixFree(matrix)

    def _call(self, name: str, *arguments: Any) -> None:
        if getattr(self._library, name)(*arguments):
            said = (self._library.XGBGetLastError() or b"").decode(errors="replace").strip()
            raise BoostingError(said.splitlines()[0] if said else f"{name} fails")


def _texts(names: Sequence[str]) -> tuple[Any, ctypes.c_uint64]:
    return (ctypes.c_char_p * len(names))(*[n.encode() for n in names]), ctypes.c_uint64(len(names))


@functools.cache
def _library() -> Any:
    spec = importlib.util.find_spec("xgboost")
    if spec is None:
        raise ImportError("No module named 'xgboost'")
    folders = [Path(folder) / "lib" for folder in spec.submodule_search_locations or ()]
    paths = [folder / name for folder in folders for name in _LIBRARIES]
    path = next((path for path in paths if path.is_file()), None)
    found = _of_package() if path is None else ctypes.CDLL(str(path))
    found.XGBGetLastError.restype = ctypes.c_char_p
    found.XGBoosterFree.argtypes = found.XGDMatrixFree.argtypes = [ctypes.c_void_p]
    return found


def _of_package() -> Any:
    from xgboost.core import _LIB

    return _LIB
