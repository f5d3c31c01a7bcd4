"""Runs Python scripts as `python script.py` does, each in a process of its own.

Scripts that import torch are forked from one process that has imported torch and transformers, and
nothing of tc: the imports would take longer than what most of the scripts do. This file is that
process too; it must not import what the scripts are to show the import of.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import runpy
import select
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 300
_HEAVY = re.compile(r"^\s*(?:import|from) (?:torch|transformers)\b", re.MULTILINE)


def run_script(script: Path, *arguments: str, cwd: Path) -> str:
    """What a script prints, which must end well; tc is that of this checkout."""
    out, err = cwd / f"{script.stem}.out", cwd / f"{script.stem}.err"
    words = [str(script), *arguments]
    heavy = _HEAVY.search(script.read_text(encoding="utf-8"))
    run = _forked if heavy else _started
    code = run(words, str(cwd), str(out), str(err))
    assert code == 0, err.read_text(encoding="utf-8")[-3000:]
    return out.read_text(encoding="utf-8")


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _started(words: list[str], cwd: str, out: str, err: str) -> int:
    with open(out, "w") as stdout, open(err, "w") as stderr:
        return subprocess.run(
            [sys.executable, *words], stdin=subprocess.DEVNULL,
            cwd=cwd, env=_environment(), stdout=stdout, stderr=stderr, timeout=SECONDS,
        ).returncode  # fmt: skip


def _forked(words: list[str], cwd: str, out: str, err: str) -> int:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    job = {"words": words, "cwd": cwd, "out": out, "err": err, "env": _environment()}
    server.stdin.write(json.dumps(job).encode() + b"\n")
    server.stdin.flush()
    ready, _, _ = select.select([server.stdout], [], [], SECONDS)
    assert ready, f"{words[0]} takes longer than {SECONDS} s"
    return int(server.stdout.readline())


@cache
def _server() -> subprocess.Popen[bytes]:
    """The warm process; it ends when its input does."""
    server = subprocess.Popen(
        [sys.executable, __file__],
        env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    import torch

    import tests.models  # noqa: F401  (with all of torch and transformers that models need)

    # What traces is imported by a trace, too.
    free = ({0: torch.export.Dim("n")},)
    torch.export.export(torch.nn.GELU(), (torch.ones(2, 3),), dynamic_shapes=free)
    assert "tc" not in sys.modules
    for line in sys.stdin.buffer:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(job)
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(job: dict[str, object]) -> None:
    """Run the script of a job as this process's program."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path, how in ((0, os.devnull, os.O_RDONLY), (1, job["out"], flags),
                              (2, job["err"], flags)):  # fmt: skip
        file = os.open(str(path), how, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(job["env"])  # type: ignore[call-overload]
    os.chdir(str(job["cwd"]))
    sys.argv = list(job["words"])  # type: ignore[call-overload]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    _serve()
