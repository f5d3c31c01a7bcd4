"""How the tests run a command: in this process, with stdout, stderr and the exit status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tc.cli import main


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Done:
        status = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    return run


FUNCTION = "tests.cli.stand_ins:small"
