"""C compilers: where one is, what it is, and how it is told the target and called.

A compiler is called with an argument list, never through a shell. This module must not write C.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tc.errors import CompileError, InternalError, UnsupportedError, describe
from tc.frozen import frozen
from tc.target import Target

CANDIDATES: Final = ("cc", "gcc", "clang")

# No product is fused with a sum but where the text says so; errno and traps are not looked at.
MEANING: Final = ("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")


@frozen
class Compiler:
    """A C compiler: the words that call it, and what it says its version is."""

    command: tuple[str, ...]
    version: str

    def run(self, arguments: Sequence[str], text: str | None = None) -> None:
        """Call it.

        Raises:
            InternalError: it rejects what it is given.
        """
        done = subprocess.run(
            [*self.command, *arguments], input=text, capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = "\n".join(done.stderr.splitlines()[:12])
            raise InternalError(f"{self.command[0]} rejects emitted C: {said}")


@functools.lru_cache(maxsize=8)
def find_compiler(wanted: str | None = None, path: str | None = None) -> Compiler:
    """The C compiler of this machine.

    Args:
        wanted: words that call it, as the variable CC has them; default: cc, gcc or clang.
        path: where to look; default: the PATH of this process.

    Raises:
        CompileError: there is none, or what is wanted does not run.
    """
    for words in [shlex.split(wanted)] if wanted else [[name] for name in CANDIDATES]:
        found = shutil.which(words[0], path=path) if words else None
        if found is not None:
            return Compiler((found, *words[1:]), _version((found, *words[1:])))
    what = f"C compiler {wanted}" if wanted else "a C compiler"
    raise CompileError(
        describe(
            what,
            where="PATH",
            why=f"none of {', '.join(CANDIDATES)} is there" if not wanted else "it is not there",
            way_out="install the package gcc or clang, or name a compiler in CC",
        )
    )


def _version(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CompileError(
            describe(
                f"C compiler {shlex.join(command)}",
                why=f"it does not run ({error})",
                way_out="name another one in CC",
            )
        ) from error
    return done.stdout.splitlines()[0] if done.stdout else ""


def machine_flags(target: Target) -> tuple[str, ...]:
    """The flags by which gcc and clang generate code for `target`."""
    if target.arch == "x86_64":
        flags = [f"-march={target.level}"]
        flags += [f"-m{f}" for f in target.features if not f.startswith("amx")]
        return (*flags, f"-mtune={target.cpu}") if target.cpu else tuple(flags)
    if target.arch == "aarch64":
        version = "armv8.2-a" if target.features else "armv8-a"
        names = {"fullfp16": "fp16"}
        march = "+".join([version, *[names.get(f, f) for f in target.features]])
        tune = (
            (f"-mtune={target.cpu}",) if target.cpu and not target.cpu.startswith("apple") else ()
        )
        return (f"-march={march}", *tune)
    return ()


def zig_flags(target: Target) -> tuple[str, ...]:
    """The same for `zig cc`, which has names of its own for processors and features."""
    base = {"x86_64": target.level, "aarch64": "generic"}.get(target.arch)
    if base is None:
        return ()
    names = [base, *(f for f in target.features if not f.startswith("amx"))]
    return ("-mcpu=" + "+".join(re.sub(r"[-.]", "_", name) for name in names),)


def compile_object(compiler: Compiler, text: str, flags: Sequence[str], folder: Path) -> bytes:
    """The object file of a C text."""
    name = folder / f"o{os.urandom(8).hex()}.o"
    compiler.run([*flags, "-fPIC", "-pipe", "-x", "c", "-c", "-o", str(name), "-"], text)
    data = name.read_bytes()
    name.unlink()
    return data


def link_shared(compiler: Compiler, objects: Sequence[bytes], folder: Path) -> bytes:
    """The shared library of these object files."""
    names = []
    for n, data in enumerate(objects):
        names.append(folder / f"l{n}.o")
        names[-1].write_bytes(data)
    out = folder / "program.so"
    compiler.run(["-shared", "-o", str(out), *map(str, names), "-lm"])
    return out.read_bytes()


def assembly(compiler: Compiler, text: str, flags: Sequence[str]) -> str:
    """The assembly of a C text."""
    done = subprocess.run(
        [*compiler.command, *flags, "-x", "c", "-S", "-o", "-", "-"],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise UnsupportedError(describe("assembly", why=done.stderr.strip()))
    return done.stdout
