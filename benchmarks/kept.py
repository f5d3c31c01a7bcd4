"""Files that take long to make and are the same at every run: made once, in another process.

Must not know what they are.
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
from collections.abc import Sequence
from pathlib import Path

from benchmarks.protocol import ROOT, UnavailableError, WorkerError

MAKERS = ("zoo.py", "onnx_export.py", "model_files.py", "gguf_file.py")
"""The sources that decide what is in the files."""


def folder_for(packages: Sequence[str]) -> Path:
    """A private folder for files made by these versions of these packages and of the makers."""
    versions = ",".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    makers = [(Path(__file__).parent / name).read_text() for name in MAKERS]
    tag = hashlib.sha256("\0".join([versions, *makers]).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"benchmarks-{getpass.getuser()}-{tag}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def kept(name: str, command: Sequence[str], packages: Sequence[str]) -> Path:
    """The file or folder `name`, made now by Python with `command` and its path if need be.

    `packages` are what making it takes. Raises UnavailableError where one is missing, and
    WorkerError where the command fails.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableError(f"making {name} needs {', '.join(missing)}")
    folder = folder_for(packages)
    path = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                made = Path(scratch) / "made"
                done = subprocess.run(
                    [sys.executable, *command, str(made)],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    cwd=ROOT,
                    check=False,
                )
                if done.returncode:
                    said = (done.stderr.strip().splitlines() or ["no message"])[-1]
                    raise WorkerError(f"making {name}: {said}")
                made.rename(path)
    return path
