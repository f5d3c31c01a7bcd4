"""Export a model to ONNX once and keep it: `python -m benchmarks.onnx_export MODEL PATH`.

The export runs in a process of its own, so that torch never enters the process of the runtime
that is timed. Batch and length are exported symbolic; each runtime fixes them for its row.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.kept import kept
from benchmarks.zoo import MODELS

NEEDED = ("torch", "transformers", "onnxscript")
FILE = "model.onnx"


def onnx_path(model: str) -> Path:
    """The exported model, exported now if it is not there yet. Raises UnavailableError."""
    folder = kept(f"{model}-onnx", ["-m", "benchmarks.onnx_export", model], NEEDED)
    return folder / FILE


def export(model: str, path: Path) -> None:
    """Write the model's forward, its first output first, into the new folder `path`."""
    import torch

    spec = MODELS[model]
    given = spec.inputs(2, 224 if spec.dynamic == ("batch",) else 16)
    symbolic: dict[int, Any] = dict.fromkeys(range(len(spec.dynamic)), torch.export.Dim.DYNAMIC)
    with torch.no_grad():
        program = torch.onnx.export(
            spec.build(),
            (),
            kwargs={name: torch.from_numpy(array) for name, array in given.items()},
            dynamo=True,
            dynamic_shapes=dict.fromkeys(given, symbolic),
            verbose=False,
        )
    assert program is not None
    path.mkdir()
    program.save(path / FILE, external_data=True)


if __name__ == "__main__":
    export(sys.argv[1], Path(sys.argv[2]))
