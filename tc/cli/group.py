"""The top of the command line: the table of commands and the options that all of them share.

A command's module is imported when the command is run or listed. This module must not import
anything heavier than click.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

from tc import __version__
from tc.cli.options import Settings, shared_options

# Command -> the module of tc.cli that defines it, under the same name. In the order of --help.
COMMANDS = ("devices", "compile", "bench", "explain", "tune", "worker", "db", "export",
            "doctor")  # fmt: skip


class LazyGroup(click.Group):
    """A group that imports a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"tc.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click has it, with the known names in the message."""
        if args and args[0] not in COMMANDS:
            ctx.fail(f"No such command '{args[0]}'; commands: {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="tensorc %(version)s")
@shared_options
@click.pass_context
def cli(ctx: click.Context, /, **given: Any) -> None:
    """tc, a tensor compiler: models and tensor expressions in, tuned machine code out.

    MODEL is a folder of a Hugging Face model, a compiled model (.tc), or module:function, a
    function that returns a module and its example inputs.

    Exit status: 0 done, 1 it cannot be done, 2 wrong usage, 3 a defect of tc, 130 interrupted.
    """
    ctx.obj = Settings().updated(given)
