"""An exported model, built and run as a process: under an emulator where it is another machine's.

This module must not know how the model was made.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tc.errors import TcError, describe
from tc.frozen import frozen
from tc.standalone import building
from tc.standalone.prefix import MODEL, weights_file
from tc.target import Target

Array = np.ndarray[Any, np.dtype[Any]]


@frozen
class Exported:
    """A folder that was written.

    Attributes:
        target: what it is for.
        lines: of C.
        weights: bytes of weights.bin.
        outputs: names of the results.
        name: what files, symbols and the program are called after.
    """

    folder: Path
    target: Target
    lines: int
    weights: int
    outputs: tuple[str, ...]
    name: str = MODEL

    def build(self, *, threads: bool = False, flags: str | None = None) -> Path:
        """Run make; the path of the program. See `building.build`."""
        return building.build(
            self.folder, self.target, threads=threads, flags=flags, name=self.name
        )

    def command(self, *words: str) -> str:
        """What the program prints, after `build`.

        Raises:
            UnsupportedError: another machine's program, and no emulator.
            TcError: it is not built, or refuses; its own line says why.
        """
        # A name without a folder means one of PATH.
        path = self.folder.absolute() / f"{self.name}_cli"
        if not path.exists():
            raise TcError(
                describe(
                    f"{path.name} {words[0]}",
                    where=str(self.folder),
                    why="it is not built",
                    way_out="call build() before",
                )
            )
        program = [*building.runner(self.target), str(path)]
        given = [*program, "--weights", str(self.folder / weights_file(self.name)), *words]
        done = subprocess.run(given, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise TcError(describe(f"{path.name} {words[0]}", where=str(self.folder), why=said))
        return done.stdout

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The results for these inputs, after `build`; see `command` for what it raises."""
        with tempfile.TemporaryDirectory(prefix="tc-run-") as name:
            words = ["run"]
            for n, (input_, array) in enumerate(inputs.items()):
                path = Path(name) / f"in{n}.npy"
                np.save(path, np.asarray(array, order="C"))
                words += ["--input", f"{input_}={path}"]
            paths = {output: Path(name) / f"out{n}.npy" for n, output in enumerate(self.outputs)}
            for output, path in paths.items():
                words += ["--output", f"{output}={path}"]
            self.command(*words)
            return {output: np.load(path) for output, path in paths.items()}
