"""Makefile, CMakeLists.txt and README of an exported model, and compilers to build it with.

Compilers are run with lists of arguments, never through a shell. This module must not know what
is in the sources.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tc.codegen.c.compilers import MEANING, machine_flags, zig_flags
from tc.config import read
from tc.errors import CompileError, UnsupportedError, describe
from tc.standalone.prefix import MODEL, shown, weights_file
from tc.standalone.spec import ModelSpec
from tc.target import Target

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion")
_CROSS = {"aarch64": "aarch64-linux-gnu-gcc", "x86_64": "x86_64-linux-gnu-gcc"}
_MACHINES = {"aarch64": ("aarch64", "arm64"), "x86_64": ("x86_64", "amd64", "AMD64")}  # uname -m
_PACKAGES = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu and libc6-dev-arm64-cross",
    "x86_64-linux-gnu-gcc": "gcc-x86-64-linux-gnu and libc6-dev-amd64-cross",
    "qemu-aarch64": "qemu-user",
    "make": "make",
    "cc": "gcc",
}


def compiler(target: Target) -> str:
    """The compiler that makes code for the target on this machine, if it is installed."""
    return "cc" if is_native(target) else _CROSS.get(target.arch, "cc")


def is_native(target: Target) -> bool:
    """Whether this machine is of the target's kind."""
    here = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(),
                                                       platform.machine().lower())  # fmt: skip
    return target.arch in ("generic", here)


def makefile(
    target: Target, sources: Sequence[str], compiled: Sequence[str] = (), name: str = MODEL
) -> str:
    """The Makefile; `CC`, `CFLAGS` and `THREADS` may be given.

    `sources` are the C files of the library, `compiled` object files that belong to it; that and
    the program are called after `name`.
    """
    objects = " ".join(s.removesuffix(".c") + ".o" for s in sources)
    parts = " ".join(["$(OBJECTS)", *compiled])
    compilers = "cc"
    if target.arch in _CROSS:
        cross = _CROSS[target.arch]
        here = " ".join(_MACHINES[target.arch])
        compilers = f"$(if $(filter {here},$(shell uname -m)),cc,{cross})"
    return f"""\
# make                  build lib{name}.a and {name}_cli for {target}
# make lib{name}.so      a shared library; make lib{name}.o: one object file
# make CC=clang         with another compiler: gcc, clang, "zig cc -target aarch64-linux-musl"
# make THREADS=openmp   with several threads

ifeq ($(origin CC),default)
CC := {compilers}
endif
AR ?= ar
CFLAGS ?= -O3
MACHINE := {" ".join(machine_flags(target))}
ifneq ($(findstring zig,$(CC)),)
MACHINE := {" ".join(zig_flags(target))}
endif
MODEL_FLAGS := {" ".join(STRICT)} -fPIC \\
    {" ".join(MEANING)} $(MACHINE)
LDLIBS += -lm
ifeq ($(THREADS),openmp)
MODEL_FLAGS += -fopenmp
endif

OBJECTS := {objects}

all: {name}_cli lib{name}.a

%.o: %.c $(wildcard *.h)
\t$(CC) $(MODEL_FLAGS) $(CFLAGS) -c -o $@ $<

lib{name}.a: {parts}
\t$(AR) rcs $@ $^

lib{name}.so: {parts}
\t$(CC) $(MODEL_FLAGS) $(CFLAGS) $(LDFLAGS) -shared -Wl,-Bsymbolic -o $@ $^ $(LDLIBS)

lib{name}.o: {parts}
\t$(CC) -r -nostdlib -o $@ $^

{name}_cli: {name}_cli.o npy.o {parts}
\t$(CC) $(MODEL_FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

clean:
\trm -f $(OBJECTS) {name}_cli.o npy.o lib{name}.o lib{name}.a lib{name}.so {name}_cli

.PHONY: all clean
"""


def cmake(
    target: Target, sources: Sequence[str], compiled: Sequence[str] = (), name: str = MODEL
) -> str:
    """The CMakeLists.txt; see `makefile`."""
    return f"""\
cmake_minimum_required(VERSION 3.14)
{_cmake_cross(target)}project({name} C)

set(CMAKE_C_STANDARD 99)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
option({name.upper()}_OPENMP "Run calls on several threads" OFF)

if("${{CMAKE_C_COMPILER}}" MATCHES "zig")
  set(machine {" ".join(zig_flags(target))})
else()
  set(machine {" ".join(machine_flags(target))})
endif()
add_library({name} STATIC {" ".join([*sources, *compiled])})
target_include_directories({name} PUBLIC ${{CMAKE_CURRENT_SOURCE_DIR}})
target_compile_options({name} PRIVATE {" ".join([*STRICT[1:], *MEANING])}
  ${{machine}})
target_link_libraries({name} PUBLIC m)
if({name.upper()}_OPENMP)
  find_package(OpenMP REQUIRED COMPONENTS C)
  target_link_libraries({name} PUBLIC OpenMP::OpenMP_C)
endif()

add_executable({name}_cli {name}_cli.c npy.c)
target_link_libraries({name}_cli PRIVATE {name})
if(EXISTS ${{CMAKE_CURRENT_SOURCE_DIR}}/{weights_file(name)})
  # {name}_cli looks for them beside itself.
  file(CREATE_LINK ${{CMAKE_CURRENT_SOURCE_DIR}}/{weights_file(name)}
    ${{CMAKE_CURRENT_BINARY_DIR}}/{weights_file(name)} COPY_ON_ERROR SYMBOLIC)
endif()
"""


def _cmake_cross(target: Target) -> str:
    """What chooses a cross compiler where the user chooses none and this is another machine."""
    if target.arch not in _CROSS:
        return ""
    return f"""
cmake_host_system_information(RESULT host QUERY OS_PLATFORM)
if(NOT host MATCHES "^({"|".join(_MACHINES[target.arch])})$" AND NOT DEFINED CMAKE_C_COMPILER
    AND NOT DEFINED CMAKE_TOOLCHAIN_FILE AND NOT DEFINED ENV{{CC}})
  set(CMAKE_SYSTEM_NAME Linux)
  set(CMAKE_SYSTEM_PROCESSOR {target.arch})
  set(CMAKE_C_COMPILER {_CROSS[target.arch]})
endif()
"""


def find_tool(name: str, purpose: str) -> str:
    """The path of a program.

    Raises:
        UnsupportedError: it is not installed; names the package that has it.
    """
    found = shutil.which(name)
    if found is None:
        raise UnsupportedError(
            describe(
                purpose,
                why=f"there is no {name} on this machine",
                way_out=f"install {_PACKAGES.get(name, name)} (Debian's name)",
            )
        )
    return found


def build(
    folder: Path,
    target: Target,
    *,
    threads: bool = False,
    flags: str | None = None,
    goal: str = "",
    name: str = MODEL,
) -> Path:
    """Run make in an exported folder; the path of the program.

    Args:
        threads: calls may run on several.
        flags: CFLAGS in place of the Makefile's own.
        goal: what to make instead of all, of which the path is then.
        name: that the model has.

    Raises:
        UnsupportedError: no make or no compiler.
        CompileError: the compiler refuses.
    """
    make = find_tool("make", f"building {folder}")
    own = compiler(target)
    given = read().cc or find_tool(own, f"building {folder} for {target}")
    words = [make, "-C", str(folder), f"-j{os.cpu_count() or 1}", f"CC={given}"]
    words += ["THREADS=openmp"] if threads else []
    words += [f"CFLAGS={flags}"] if flags is not None else []
    words += [goal] if goal else []
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise CompileError(
            describe(
                f"building {folder}",
                why=said[0][:300] if said else f"make gave {done.returncode}",
                way_out=f"run make -C {folder} to see all of it",
            )
        )
    return folder / (goal or f"{name}_cli")


def runner(target: Target) -> list[str]:
    """The words before a program of the target to run it here: none, or an emulator's.

    Raises:
        UnsupportedError: another machine's, and no emulator.
    """
    if is_native(target):
        return []
    name = f"qemu-{target.arch}"
    words = [find_tool(name, f"running a program for {target}")]
    for root in (f"/usr/{target.arch}-linux-gnu",):
        if Path(root).is_dir():
            words += ["-L", root]
    return words


def readme(
    model: ModelSpec, sizes: dict[str, int], kernels: str = "`kernels*.c`", name: str = MODEL
) -> str:
    """The README of the folder; `kernels` says where the kernels are."""
    program = model.programs[0]
    first_input = " ".join(f"--input {n}={n}.npy" for n in program.inputs)
    outputs = " ".join(f"--output {n}={n}.npy" for n in program.outputs[:1])
    bounds = "\n".join(f"- `{each}`: at most {value}" for each, value in model.bounds.items())
    generate = (
        f"    ./{name}_cli generate --ids 1,2,3 --max-new-tokens 32\n" if model.generation else ""
    )
    return shown(_README, name).format(
        name=model.name.replace("`", ""), target=model.target, bounds=bounds or "- none",
        kernels=kernels, lines=sizes["lines"], weights=sizes["weights"], generate=generate,
        run=f"    ./{name}_cli run {first_input} {outputs}\n",
    )  # fmt: skip


_README = """\
# {name} in C

{lines} lines of C99 for {target}, and {weights} bytes of weights. They need a C compiler and the C
library; nothing else.

    make                    # or make CC=clang, or cmake -B build && cmake --build build
    ./model_cli info
{run}{generate}    ./model_cli bench --repeat 100

`model.h` is the whole interface: create an instance from `weights.bin`, run it, free it. Weights
are mapped read-only, so that processes share them. An instance serves one call at a time and
allocates nothing after it was made; make as many as you like, in threads too. Sizes are bounded by
what was chosen at export, and an instance may be made for less:

{bounds}

Calls run on one thread. `make THREADS=openmp` builds for several, `--threads N` and
`model_limits.threads` ask for them; other builds refuse that. `--private-weights 1` and
`model_limits.private_weights` read the weights into memory of the instance, in large pages where
the system has them: processes no longer share them, and what streams all weights, as each step of
a generation does, is faster.

Exit status: 0, or one line on standard error and the error's number in `model_code` of `model.h`.

| file | what it holds |
|---|---|
| `model.h` | the interface |
| `model.c` | the model: places of its weights, tables of its programs, their steps |
| {kernels}, `kernels.h` | the kernels that the steps call |
| `runtime.c`, `weights.c`, `generate.c`, `choose.c` | what is the same for all models |
| `model_cli.c`, `npy.c` | the command line |
| `weights.bin` | the weights, laid out as the kernels read them |
"""
