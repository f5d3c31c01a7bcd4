"""Export a model to ONNX once and keep it: `python -m benchmarks.onnx_export MODEL PATH`.

The export runs in a process of its own, so that torch never enters the process of the runtime
that is timed. Batch and length are exported symbolic; each runtime fixes them for its row.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import importlib.metadata
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.protocol import UnavailableError
from benchmarks.zoo import MODELS

NEEDED = ("torch", "transformers", "onnxscript")


def cache_folder() -> Path:
    """Where exported models are kept: one private folder for each set of exporter versions."""
    versions = ",".join(f"{name} {importlib.metadata.version(name)}" for name in NEEDED)
    tag = hashlib.sha256(versions.encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"benchmarks-onnx-{getpass.getuser()}-{tag}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def onnx_path(model: str) -> Path:
    """The exported model, exported now if it is not there yet. Raises UnavailableError."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableError(f"the ONNX export needs {', '.join(missing)}")
    folder = cache_folder() / model
    path = folder / "model.onnx"
    with (cache_folder() / f"{model}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
                made = Path(scratch) / "made"
                made.mkdir()
                command = [sys.executable, "-m", __name__, model, str(made / path.name)]
                subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
                made.rename(folder)
    return path


def export(model: str, path: Path) -> None:
    """Write the model's forward, its first output first, to `path`."""
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
    program.save(path, external_data=True)


if __name__ == "__main__":
    export(sys.argv[1], Path(sys.argv[2]))
