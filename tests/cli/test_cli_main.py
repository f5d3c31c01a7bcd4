"""The command line as a whole: exit statuses, one-line errors, help, speed, documentation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import tc.cli
from tc.cli import ExitCode, main
from tc.cli.group import COMMANDS, cli
from tc.errors import InternalError, TcError

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/cli.md").read_text(encoding="utf-8")


def python_m_tc(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tc", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def command_of(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def options() -> Iterator[tuple[str, str]]:
    for name in COMMANDS:
        command = command_of(name)
        parts = list(command.commands.values()) if isinstance(command, click.Group) else [command]
        for parameter in (p for part in parts for p in part.params):
            if isinstance(parameter, click.Option):
                yield from ((name, option) for option in parameter.opts)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    assert re.search(rf"^## `tensorc {name}\b", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("name", "option"), list(options()))
def test_every_option_is_documented_where_its_command_is(name: str, option: str) -> None:
    shared = PAGE[PAGE.index("## Options of every command") : PAGE.index("## `tensorc devices`")]
    start = PAGE.index(f"## `tensorc {name}")
    section = PAGE[start : PAGE.index("\n## ", start + 1)]
    assert f"`{option}`" in section or f"`{option}`" in shared


def test_every_documented_option_exists() -> None:
    known = {option for _, option in options()} | {"--help", "-h", "--version", "-V"}
    assert set(re.findall(r"`(--?[a-z-]+)`", PAGE)) <= known


@pytest.mark.parametrize("status", list(ExitCode))
def test_every_exit_status_is_documented(status: ExitCode) -> None:
    assert f"| {int(status)} |" in PAGE


def test_help_answers_in_half_a_second_and_needs_nothing_heavy() -> None:
    seconds = []
    for _ in range(3):  # of its own process, the least: a busy machine only makes it more
        start = os.times()
        done = python_m_tc("--help")
        end = os.times()
        seconds.append(sum(end[2:4]) - sum(start[2:4]))  # of children, user and system
        assert done.returncode == 0, done.stderr
    assert min(seconds) < 0.5
    code = "import sys, tc.cli; tc.cli.main(['--help']); print(sys.modules.keys())"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    for heavy in ("torch", "llvmlite", "numpy", "rich", "transformers"):
        assert f"'{heavy}'" not in shown.stdout


def test_help_names_every_command(run) -> None:
    shown = run("--help")
    assert shown.status == 0
    assert all(f"\n  {name} " in shown.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(run, name: str) -> None:
    shown = run(name, "--help")
    assert shown.status == 0
    assert shown.out.startswith(f"Usage: tensorc {name} ")


@pytest.mark.parametrize("arguments", [(), ("db",)])
def test_without_a_command_there_is_help(run, arguments: tuple[str, ...]) -> None:
    shown = run(*arguments)
    help_ = run(*arguments, "--help")
    assert (shown.status, shown.out, shown.err) == (2, "", help_.out)


def test_the_version(run) -> None:
    assert run("--version").out == f"tensorc {tc.cli.group.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compyle"], "No such command 'compyle'; commands: devices, compile"),
        (["bench"], "Missing argument 'MODEL'; try 'tensorc bench --help'"),
        (["--jsn"], "No such option '--jsn'"),
        (["compile", "x"], "Missing option '--output' / '-o'"),
        (["bench", "x", "--repeat", "0"], "Invalid value for '--repeat'"),
        (["bench", "x", "--seed", "-1"], "Invalid value for '--seed'"),
    ],
)
def test_wrong_usage_is_status_2_and_one_line(run, arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.status == ExitCode.USAGE
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert said in done.err
    assert done.err.count("\n") == 1


class Raising(click.Command):
    """A command that raises what it is given."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("raising")
        self.error = error

    def invoke(self, ctx: click.Context) -> object:  # noqa: ARG002  # click's
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (TcError("thing: why; way out"), 1, "error: thing: why; way out\n"),
        (TcError("two\nlines"), 1, "error: two lines\n"),
        (InternalError("broken"), 3, "error: broken (a defect of tc: please report it"),
        (ZeroDivisionError("oh"), 3, "error: ZeroDivisionError: oh (a defect of tc"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (click.ClickException("no"), 1, "error: no\n"),
    ],
)
def test_errors_become_a_status_and_a_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    said: str,
) -> None:
    monkeypatch.setattr(tc.cli, "cli", Raising(error))
    assert main([]) == status
    shown = capsys.readouterr().err
    # click ends the line that ^C was typed in.
    assert shown.lstrip("\n").startswith(said)
    assert shown.strip().count("\n") == 0
    monkeypatch.setenv("TC_DEBUG", "1")
    assert main([]) == status
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m tc doctor --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_as_a_module() -> None:
    done = python_m_tc("nonsense")
    assert done.returncode == 2
    assert done.stderr.startswith("error: No such command")
    assert python_m_tc("--version").stdout.startswith("tensorc ")
