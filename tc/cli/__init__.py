"""The command line `python -m tc` (script `tensorc`): one module a command, and `main`.

`main` turns what goes wrong into one line on stderr and a stable exit status (`ExitCode`). This
package is the only one that may import click and rich, and it must hold nothing that the public
API does not: a command reads its arguments, calls the API and prints. Heavy imports (torch, LLVM,
NumPy, rich) are made in the functions that need them, so that `--help` answers at once.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import click

from tc.cli.group import cli
from tc.errors import InternalError, TcError

# A process that ends needs no cycle found among its objects, which took seconds after PyTorch.
atexit.register(gc.freeze)
# What click from 8.2 on raises where a command is missing: its text is the help.
_NO_COMMAND: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


class ExitCode(IntEnum):
    """What the exit status says; docs/cli.md promises these numbers."""

    OK = 0
    ERROR = 1  # what was asked for cannot be done: a TcError
    USAGE = 2  # an unknown command or option, a bad value
    INTERNAL = 3  # a defect of tc
    INTERRUPTED = 130  # Ctrl-C, as shells have it: 128 + SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; nothing is raised.

    Args:
        arguments: without the program's name; default: those of this process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = cli.main(args=given, prog_name="tensorc", standalone_mode=False)
        sys.stdout.flush()
    except _NO_COMMAND as error:
        print(error.format_message(), file=sys.stderr)
        return ExitCode.USAGE
    except click.UsageError as error:
        hint = f"try '{' '.join(('tensorc', *_command(error)))} --help'"
        return _fail(ExitCode.USAGE, f"{error.format_message().rstrip('.')}; {hint}", error)
    except click.ClickException as error:
        return _fail(ExitCode.ERROR, error.format_message(), error)
    except (KeyboardInterrupt, click.Abort) as error:
        return _fail(ExitCode.INTERRUPTED, "interrupted", error)
    except BrokenPipeError:
        # The reader went away (`tensorc ... | head`): nothing is left to say, nor to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except SystemExit:
        return ExitCode.OK  # how click ends when the reader goes away
    except InternalError as error:
        return _fail(ExitCode.INTERNAL, error.message, error)
    except TcError as error:
        return _fail(ExitCode.ERROR, error.message, error)
    except Exception as error:  # noqa: BLE001  # the last resort: no traceback in a user's face
        said = f"{type(error).__name__}: {error} (a defect of tc; TC_DEBUG=1 shows where)"
        return _fail(ExitCode.INTERNAL, said, error)
    return result if isinstance(result, int) else ExitCode.OK


def _command(error: click.UsageError) -> list[str]:
    """The words after the program's name that lead to the command at fault."""
    return error.ctx.command_path.split()[1:] if error.ctx is not None else []


def _fail(status: ExitCode, message: str, error: BaseException) -> int:
    """Say in one line what is wrong; the traceback comes with TC_DEBUG."""
    if _debugging():
        traceback.print_exception(error, file=sys.stderr)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _debugging() -> bool:
    from tc import config

    try:
        return config.read().debug > 0
    except TcError:
        return False  # another variable is wrong, which the command has said
