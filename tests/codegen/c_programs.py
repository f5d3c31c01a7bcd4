"""Many kernels as one C program that reads calls and writes results: for this machine or emulated.

One compilation serves many kernels and many calls. The program is what the tests look at under
sanitizers too, since nothing of Python is in it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tc.codegen.c.compilers import MEANING, machine_flags
from tc.codegen.c.kernel import CKernel, render_kernel
from tc.codegen.c.module import join_kernels
from tc.codegen.c.text import wrap
from tc.codegen.llvm.kernel import NUMPY, evaluate
from tc.ir.loop import Func
from tc.ir.passes.place_scratch import place_scratch
from tc.target import Target

Array = np.ndarray[Any, np.dtype[Any]]

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")

_MAIN = r"""
#include <stdio.h>
#include <stdlib.h>

#define MOST 64

static int64_t number(void)
{
    int64_t n = 0;
    if (fread(&n, sizeof n, 1, stdin) != 1) exit(0);
    return n;
}

/* An array of exactly so many bytes, 64 of which lie in one line. */
static void *block(int64_t size)
{
    const size_t whole = size < 1 ? 1 : (size_t)size;
    char *base = malloc(whole + 64 + sizeof(void *));
    char *at = base + sizeof base;
    if (!base) exit(3);
    at += (64 - (uintptr_t)at % 64) % 64;
    memmove(at - sizeof base, &base, sizeof base);
    return at;
}

static void release(void *at)
{
    char *base;
    memmove(&base, (char *)at - sizeof base, sizeof base);
    free(base);
}

int main(void)
{
    for (;;) {
        const int64_t kernel = number(), team = number(), scratch_bytes = number();
        const int64_t arrays = number(), symbols = number();
        void *p[MOST];
        int64_t bytes[MOST], s[MOST];
        int32_t error = 0;
        for (int64_t n = 0; n < arrays; n++) {
            bytes[n] = number();
            p[n] = block(bytes[n]);
            if (fread(p[n], 1, (size_t)bytes[n], stdin) != (size_t)bytes[n]) exit(4);
        }
        for (int64_t n = 0; n < symbols; n++) s[n] = number();
        for (int64_t tid = 0; tid < team; tid++) {
            void *scratch = block(scratch_bytes);
            run(kernel, p, s, tid, team, scratch, &error);
            release(scratch);
        }
        fwrite(&error, sizeof error, 1, stdout);
        for (int64_t n = 0; n < arrays; n++) {
            fwrite(p[n], 1, (size_t)bytes[n], stdout);
            release(p[n]);
        }
    }
}
"""


@dataclass(frozen=True)
class Program:
    """A compiled program of kernels, each flat vector IR, by name; `command` runs it."""

    command: tuple[str, ...]
    kernels: Mapping[str, Func]
    target: Target

    def __call__(
        self, calls: Sequence[tuple[str, Mapping[str, Array], Mapping[str, int]]], team: int = 1
    ) -> list[int]:
        """Run calls (name, arrays, symbols) and write to the arrays; the error word of each."""
        names = list(self.kernels)
        data = []
        for name, arrays, symbols in calls:
            func = self.kernels[name]
            scratch = evaluate(place_scratch(func)[1], dict(symbols))
            head = [names.index(name), team, scratch, len(func.params), len(func.symbols)]
            data.append(_numbers(*head))
            for p in func.params:
                assert arrays[p.name].dtype == NUMPY[p.dtype], p.name
                data += [_numbers(arrays[p.name].nbytes), arrays[p.name].tobytes()]
            data.append(_numbers(*[symbols[s.name] for s in func.symbols]))
        done = subprocess.run(self.command, input=b"".join(data), capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        assert not done.stderr, done.stderr.decode()[-3000:]
        return self._read(done.stdout, calls)

    def _read(
        self,
        data: bytes,
        calls: Sequence[tuple[str, Mapping[str, Array], Mapping[str, int]]],
    ) -> list[int]:
        at, errors = 0, []
        for name, arrays, _ in calls:
            errors.append(int.from_bytes(data[at : at + 4], "little", signed=True))
            at += 4
            for p in self.kernels[name].params:
                a = arrays[p.name]
                a[...] = np.frombuffer(data[at : at + a.nbytes], a.dtype).reshape(a.shape)
                at += a.nbytes
        assert at == len(data)
        return errors


def _numbers(*values: int) -> bytes:
    return np.array(values, np.int64).tobytes()


def text_of(kernels: Mapping[str, Func], target: Target) -> str:
    """The C file of a program."""
    rendered = [render_kernel(f, target, f"kernel_{n}") for n, f in enumerate(kernels.values())]
    return join_kernels([*rendered, _run(kernels), CKernel(_MAIN, ("string.h",), {}, ())])


def _run(kernels: Mapping[str, Func]) -> CKernel:
    lines = [
        "static void run(int64_t kernel, void **p, const int64_t *s, int64_t tid, int64_t team,",
        "        void *scratch, int32_t *error)",
        "{",
        "    switch (kernel) {",
    ]
    for n, func in enumerate(kernels.values()):
        args = [f"p[{k}]" for k in range(len(func.params))]
        args += [f"s[{k}]" for k in range(len(func.symbols))]
        call = ", ".join([*args, "tid", "team", "scratch", "error"])
        lines += wrap(f"case {n}: kernel_{n}({call}); break;", 1)
    lines += ["    default: (void)s;", "    }", "}"]
    return CKernel("\n".join(lines), (), {}, ())


def compiled(
    folder: Path,
    kernels: Mapping[str, Func],
    target: Target,
    flags: Sequence[str] = ("-O1",),
    compiler: str = "gcc",
) -> Program:
    """Compile for this machine, or for an AArch64 that is emulated.

    Skips where the compiler or the emulator is missing.
    """
    foreign = target.arch == "aarch64" and not Path("/lib/ld-linux-aarch64.so.1").exists()
    command = [compiler]
    runner: tuple[str, ...] = ()
    if foreign:
        command = ["aarch64-linux-gnu-gcc"] if compiler == "gcc" else ["clang", CLANG_TARGET]
        flags = [*flags, "-static"]
        runner = ("qemu-aarch64",)
    for tool in (command[0], *runner):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    out = folder / "program"
    source = folder / "program.c"
    source.write_text(text_of(kernels, target))
    words = [*command, *STRICT, *MEANING, *machine_flags(target), *flags, str(source)]
    done = subprocess.run([*words, "-o", str(out), "-lm"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]
    return Program((*runner, str(out)), kernels, target)


CLANG_TARGET = "--target=aarch64-linux-gnu"
