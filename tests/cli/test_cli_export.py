"""`tensorc export`: a folder of C, built and run under an emulator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import FUNCTION, Run
from tests.standalone.exported import need


def test_export_builds_and_runs_for_another_machine(run: Run, tmp_path: Path) -> None:
    need("make", "aarch64-linux-gnu-gcc", "qemu-aarch64")
    options = ["--target", "arm-neon", "--precision", "bf16", "--name", "tiny_relu", "--bake", "64"]
    done = run("--json", "-q", "export", FUNCTION, "-o", tmp_path, *options, "--run")
    assert (done.status, done.err) == (0, "")
    shown = json.loads(done.out)
    assert shown["target"] == "arm-neon" and shown["program"] == str(tmp_path / "tiny_relu_cli")
    assert (tmp_path / "tiny_relu.h").exists() and shown["lines"] > 1000
    assert 0 < max(shown["difference"].values()) < 0.02
    assert 0 < shown["weights"] <= (tmp_path / "tiny_relu_weights.bin").stat().st_size
    assert "static const float" in (tmp_path / "tiny_relu.c").read_text()  # the bias, of 20 bytes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--name", "a b"], "name='a b': no name in C"),
        (["--target", "arm64"], "arm64"),
        (["--max-batch", "0"], "0"),
        (["--bake", "-1"], "'-1' is not none, auto, all or a number of bytes"),
        (["--bake", "some"], "'some' is not none"),
    ],
)
def test_what_cannot_be_exported(run: Run, tmp_path: Path, options: list[str], said: str) -> None:
    done = run("-q", "export", FUNCTION, "-o", tmp_path / "out", *options)
    assert done.status in (1, 2) and said in done.err
    assert not list(tmp_path.glob("out/*"))
