"""Importing this makes a whole run, so that processes forked afterwards have its caches warm."""

import tempfile
from pathlib import Path

from tests.autotune.killing import run

with tempfile.TemporaryDirectory() as folder:
    run(Path(folder) / "tuning.db")
