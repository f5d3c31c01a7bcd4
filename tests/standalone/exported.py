"""What the tests of exported models share: small models, building with a sanitizer, running."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tc
from tc.standalone.building import STRICT
from tc.standalone.running import Exported

DRIVERS = Path(__file__).parent / "drivers"
SANITIZED = "-O1 -Werror -fsanitize=address,undefined -fno-sanitize-recover=all"
UNOPTIMISED = SANITIZED.replace("-O1", "-O0")  # as safe, and built sooner
BATCH, LENGTH, WORDS = 4, 6, 11


class Words(torch.nn.Module):
    """Ids [batch, length] and floats [batch, 8] to [batch, length, 5]."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.table = torch.nn.Embedding(WORDS, 8)
            self.linear = torch.nn.Linear(8, 5)

    def forward(self, input_ids: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.linear(self.table(input_ids) + x[:, None]))


def words_inputs(batch: int = 3, length: int = 5) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        ids = torch.randint(0, WORDS, (batch, length))
        return {"input_ids": ids, "x": torch.randn(batch, 8)}


def compiled_words(target: str = "host") -> Any:
    return tc.compile(Words().eval(), target=target, example_inputs=words_inputs())


def need(*tools: str) -> None:
    """Skip where one of them is not installed."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")


def syntax_check(compiler: str, folder: Path, flags: list[str]) -> str:
    """What a compiler has to say of all sources under the strict warnings."""
    sources = sorted(map(str, folder.glob("*.c")))
    words = [compiler, *STRICT, "-Werror", *flags, "-fsyntax-only", *sources]
    return subprocess.run(words, capture_output=True, text=True, check=False).stderr


# Of the C library, POSIX, OpenMP, and what names a processor's instructions.
HEADERS = frozenset((
    "errno.h", "fcntl.h", "limits.h", "math.h", "sched.h", "stdarg.h", "stdatomic.h", "stdbool.h",
    "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h", "sys/mman.h", "sys/stat.h",
    "time.h", "unistd.h", "omp.h", "arm_neon.h", "immintrin.h",
))  # fmt: skip


def foreign(folder: Path) -> set[str]:
    """The system headers that no source should need, and the builtins of compilers."""
    text = "".join(path.read_text() for path in folder.glob("*.[ch]"))
    headers = set(re.findall(r"#\s*include\s*<(.*?)>", text))
    return (headers - HEADERS) | set(re.findall(r"\b__(?:builtin|sync|atomic)\w*", text))


def build_driver(exported: Exported, name: str, *flags: str) -> Path:
    """A program of ours over an exported model that was built."""
    made = exported.folder / name
    include = ["-I", str(exported.folder), "-std=gnu99", *SANITIZED.split()]
    objects = [str(exported.folder / part) for part in ("npy.o", "libmodel.a")]
    words = ["cc", *include, str(DRIVERS / f"{name}.c"), *objects, "-lm", "-o", str(made), *flags]
    subprocess.run(words, check=True)
    return made


def save(folder: Path, inputs: dict[str, torch.Tensor]) -> dict[str, Path]:
    """An .npy file for each input."""
    paths = {name: folder / f"{name}.npy" for name in inputs}
    for name, tensor in inputs.items():
        np.save(paths[name], tensor.numpy())
    return paths
