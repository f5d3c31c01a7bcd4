"""The commands: what they print, as tables and as JSON, and how they refuse."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tc
from tc.cli import doctor
from tc.cli.doctor import Check, self_test
from tc.cli.output import print_json
from tc.device import Coverage
from tc.errors import CompileError
from tests.cli.stand_ins import small
from tests.models import entry

ROOT = Path(__file__).resolve().parents[2]
FUNCTION = "tests.cli.stand_ins:small"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT as save_pretrained writes it."""
    made = tmp_path_factory.mktemp("model") / "bert"
    entry("bert").build().save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled small module."""
    module, args = small()
    path = tmp_path_factory.mktemp("saved") / "small.tc"
    tc.compile(module, example_inputs=args).save(path)
    return path


# --- devices


def test_devices(run) -> None:
    shown = run("devices", "--no-measure")
    assert shown.status == 0
    assert "cpu:0" in shown.out
    assert "peak_gflops" not in shown.out
    assert shown.err == ""


def test_devices_as_json(run) -> None:
    shown = run("devices", "--json", "--quiet")
    (host,) = json.loads(shown.out)["devices"]
    assert host["name"] == "cpu:0"
    assert host["cores"] >= 1
    assert host["peak_gflops_core"] > 0
    assert shown.err == ""


def test_values_of_several_parts_are_objects_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"tuned_coverage": Coverage(1, 2, {"gemm": 3.0}, None, "", "", "")})
    shown = json.loads(capsys.readouterr().out)["tuned_coverage"]
    assert (shown["workloads"], shown["best_gflops"]) == (1, {"gemm": 3.0})


def test_devices_without_a_match(run) -> None:
    done = run("devices", "--capability", "tea")
    assert done.status == 1
    assert "capability='tea'" in done.err


# --- doctor


def test_doctor(run) -> None:
    shown = run("doctor")
    assert shown.status == 0
    for part in ("tc", "numpy", "torch", "target", "self-test"):
        assert part in shown.out
    assert "compiling and running a kernel" in shown.err


def test_doctor_as_json(run) -> None:
    done = run("doctor", "--json", "--quiet")
    assert (done.status, done.err) == (0, "")
    shown = json.loads(done.out)
    assert shown["ok"] is True
    states = {check["name"]: check["state"] for check in shown["checks"]}
    assert states["numpy"] == "ok"
    assert states["self-test"] == "ok"


def test_doctor_says_how_to_get_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [("click", ""), ("no-such-package", "tune"), ("nor-this", "")]
    monkeypatch.setattr(doctor, "requirements", lambda: listed)
    found = {check.name: check for check in doctor.packages()}
    assert found["click"].state == "ok"
    assert found["no-such-package"].state == "missing"
    assert found["no-such-package"].way_out == "pip install 'tensorc[tune]'"
    assert found["nor-this"].state == "failed"


def test_doctor_reads_requirements_and_extras_from_the_metadata() -> None:
    listed = doctor.requirements()
    assert ("numpy", "") in listed
    assert ("torch", "torch") in listed
    assert ("pytest", "dev") not in listed


def test_doctor_without_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(CompileError, match="not installed: tc was imported from a folder"):
        doctor.requirements()


@pytest.mark.parametrize("error", [1e-3, float("nan"), float("inf")])
def test_a_wrong_kernel_fails_the_self_test(error: float) -> None:
    assert self_test(lambda: error).state == "failed"
    assert self_test(lambda: 0.0).state == "ok"


def test_a_kernel_that_does_not_compile_fails_the_self_test() -> None:
    def run() -> float:
        raise CompileError("no code today")

    assert self_test(run) == Check(
        "JIT", "self-test", "failed", "no code today", "report it with this table"
    )


@pytest.mark.parametrize(("name", "status"), [("self-test", 3), ("llvmlite", 1)])
def test_what_fails_in_doctor_is_its_status(
    run, monkeypatch: pytest.MonkeyPatch, name: str, status: int
) -> None:
    monkeypatch.setattr(doctor, "self_test", lambda: Check("", name, "failed", "broken"))
    done = run("doctor", "--json")
    assert done.status == status
    assert json.loads(done.out)["ok"] is False
    assert done.err.splitlines()[-1].startswith(f"error: doctor: failed: {name}")


def test_a_cache_folder_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TC_CACHE_DIR", str(tmp_path / "file"))
    (check,) = doctor.cache()
    assert check.state == "missing"
    assert check.way_out == "set TC_CACHE_DIR"


# --- compile


def test_compile_a_function(run, tmp_path: Path) -> None:
    output = tmp_path / "small.tc"
    done = run("compile", FUNCTION, "-o", output)
    assert done.status == 0, done.err
    assert done.out.startswith(f"{output}: ")
    module, (x,) = small()
    with torch.no_grad():
        assert (tc.load(output)(x) - module(x)).abs().max() < 1e-5
    assert [file.name for file in tmp_path.iterdir()] == ["small.tc"]


def test_compile_a_hugging_face_model_of_a_function(run, tmp_path: Path) -> None:
    done = run("compile", "tests.cli.stand_ins:alone", "-o", tmp_path / "bert.tc")
    assert done.status == 0, done.err


def test_compile_a_folder_as_json(run, folder: Path, tmp_path: Path) -> None:
    done = run(
        "--json", "-q", "compile", folder, "--output", tmp_path / "bert.tc", "--threads", "1"
    )
    assert (done.status, done.err) == (0, "")
    shown = json.loads(done.out)
    assert shown["bytes"] == (tmp_path / "bert.tc").stat().st_size
    assert shown["stats"]["compilations"] == 1
    assert shown["stats"]["fallbacks"] == {}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nowhere", "MODEL 'nowhere': no such folder or file; give a Hugging Face folder"),
        ("no.such.module:f", "No module named 'no'"),
        ("tests.cli.stand_ins:nothing", "has no attribute 'nothing'"),
        ("tests.cli.stand_ins:raising", "ValueError: no model today"),
        ("tests.cli.stand_ins:wrong", "the function returned int; return (a torch.nn.Module"),
    ],
)
def test_a_model_that_is_none(run, tmp_path: Path, model: str, said: str) -> None:
    done = run("compile", model, "-o", tmp_path / "x.tc", "-q")
    assert done.status == 1
    assert said in done.err
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_weights(run, folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "config.json", bare)
    done = run("compile", bare, "-o", tmp_path / "x.tc", "-q")
    assert (done.status, done.out) == (1, "")
    assert "it has no weights (*.safetensors)" in done.err


def test_a_folder_with_truncated_weights(run, folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (weights,) = broken.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1000])
    done = run("compile", broken, "-o", tmp_path / "x.tc", "-q")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert f"model folder '{broken}'" in done.err
    assert not (tmp_path / "x.tc").exists()


def test_compile_what_is_compiled(run, saved: Path, tmp_path: Path) -> None:
    done = run("compile", saved, "-o", tmp_path / "again.tc", "-q")
    assert done.status == 1
    assert "it is compiled already" in done.err


def test_compile_to_nowhere(run, tmp_path: Path) -> None:
    done = run("compile", FUNCTION, "-o", tmp_path / "no" / "x.tc", "-q")
    assert done.status == 1
    assert "there is no folder" in done.err


def test_compile_with_a_precision(run, tmp_path: Path) -> None:
    path = tmp_path / "x.tc"
    assert run("compile", FUNCTION, "-o", path, "--precision", "int8", "-q").status == 0
    module, args = small()
    with torch.no_grad():
        found, exact = tc.load(path)(*args), module(*args)
    error = (found - exact).abs().max()
    assert 0 < error < 0.1 * exact.abs().max()
    assert run("compile", FUNCTION, "-o", path, "--precision", "int3", "-q").status == 2


def test_compile_for_an_unknown_target(run, tmp_path: Path) -> None:
    done = run("compile", FUNCTION, "-o", tmp_path / "x.tc", "--target", "abacus", "-q")
    assert done.status == 1
    assert "unknown target" in done.err


def test_an_interrupted_compile_leaves_what_was_there(
    run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = tmp_path / "x.tc"
    output.write_text("the old one")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    # In the middle of saving: all that belongs into the file but its checksums is written.
    monkeypatch.setattr("tc.device.artifact_file._checksum", interrupted)
    done = run("compile", FUNCTION, "-o", output, "-q")
    assert done.status == 130
    assert done.err.strip() == "error: interrupted"
    assert [file.name for file in tmp_path.iterdir()] == ["x.tc"]
    assert output.read_text() == "the old one"


@pytest.mark.slow
def test_ctrl_c_in_a_compile(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tc", "compile", str(folder), "-o", str(tmp_path / "x.tc")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("compiling for"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.strip().splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []


# --- bench


def test_bench(run, folder: Path) -> None:
    done = run("bench", folder, "--batch", 2, "--length", 7, "--repeat", 3, "--warmup", 1)
    assert done.status == 0, done.err
    assert "input_ids 2x7" in done.out
    for column in ("min", "mean", "median", "p90", "p95", "p99", "max", "items/s"):
        assert column in done.out
    assert "compiling for host" in done.err


def test_bench_as_json_with_a_peer(run) -> None:
    done = run("bench", FUNCTION, "--repeat", 4, "--peers", "eager", "--json", "-q")
    assert done.status == 0, done.err
    assert done.err == ""
    shown = json.loads(done.out)
    assert set(shown["latency"]) == {"tc", "eager"}
    for latency in shown["latency"].values():
        assert latency["calls"] == 4
        assert 0 < latency["min"] <= latency["median"] <= latency["p90"] <= latency["max"]
        assert latency["throughput"] > 0


def test_bench_of_a_compiled_model(run, saved: Path) -> None:
    shown = json.loads(run("bench", saved, "--batch", 5, "--repeat", 2, "--json").out)
    assert shown["inputs"] == {"x": [5, 8]}


def test_inputs_that_have_no_room(run, saved: Path, folder: Path) -> None:
    most = 2**31 - 1
    for model in (saved, folder):
        done = run("bench", model, "--length", most, "--batch", most, "--quiet")
        assert (done.status, done.err.count("\n")) == (1, 1)
        assert f"inputs of --batch {most} and --length {most}: cannot be made" in done.err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--peers", "eagre"], 1, "peer 'eagre': unknown; known: eager, inductor"),
        (["--batch", "2"], 2, "--batch and --length do not apply"),
    ],
)
def test_bench_refuses(run, arguments: list[str], status: int, said: str) -> None:
    done = run("bench", FUNCTION, "-q", *arguments)
    assert done.status == status
    assert said in done.err


def test_bench_of_a_compiled_model_whose_input_numpy_lacks(run, tmp_path: Path) -> None:
    model = torch.nn.ReLU().to(torch.bfloat16).eval()
    example = (torch.ones(2, 3, dtype=torch.bfloat16),)
    tc.compile(model, example_inputs=example, threads=1).save(tmp_path / "x.tc")
    done = run("bench", tmp_path / "x.tc", "--repeat", 1, "--length", 5, "--json", "--quiet")
    assert (done.status, done.err) == (0, "")
    assert json.loads(done.out)["inputs"] == {"input": [1, 5]}


def test_bench_of_a_compiled_model_has_no_peers(run, saved: Path) -> None:
    done = run("bench", saved, "--peers", "eager", "-q")
    assert done.status == 2
    assert "--peers needs a model that PyTorch can run" in done.err


def test_an_interrupted_bench_shows_what_it_has(run, monkeypatch: pytest.MonkeyPatch) -> None:
    from tc.cli import bench

    def interrupted(*given: Any) -> None:
        given[-1]["tc"] = [0.5, 1.0]
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "take_turns", interrupted)
    done = run("bench", FUNCTION, "--json", "-q")
    assert done.status == 130
    assert json.loads(done.out)["latency"]["tc"]["calls"] == 2


def test_the_seed_makes_the_inputs(folder: Path) -> None:
    from tc.cli.model import open_model
    from tc.cli.options import Settings

    ids = [open_model(str(folder), Settings(seed=s)).kwargs["input_ids"] for s in (1, 1, 2)]
    assert torch.equal(ids[0], ids[1])
    assert not torch.equal(ids[0], ids[2])
    assert ids[0].shape == (1, 128)


# --- explain


def test_explain(run, folder: Path) -> None:
    done = run("explain", folder, "--length", 9)
    assert done.status == 0, done.err
    assert "BertModel" in done.out
    assert "schedule" in done.out


def test_explain_as_json(run, saved: Path) -> None:
    shown = json.loads(run("explain", saved, "--json", "-q").out)
    (section,) = shown["explain"]
    assert section["rows"]
    assert all(row["seconds"] >= 0 for row in section["rows"])


def test_explain_tells_the_error_of_each_layer(run) -> None:
    shown = json.loads(run("explain", FUNCTION, "--precision", "int8", "--json", "-q").out)
    found = shown["accuracy"]
    assert found["precision"] == "int8"
    assert 0 < found["errors"][0] < 0.06
    assert all(0 < layer["tried"][0][1] < 0.06 for layer in found["layers"])


def test_explain_counts_for_another_machine(run) -> None:
    done = run("explain", FUNCTION, "--target", "arm-neon cpu=cortex-a72", "-q")
    assert done.status == 0
    assert "inner loops as LLVM makes them for arm-neon cpu=cortex-a72" in done.out
    assert "k0_linear_relu" in done.out


def test_explain_counts_without_running(run) -> None:
    shown = json.loads(run("explain", FUNCTION, "--static", "--json", "-q").out)["loops"]
    assert shown["sections"][0]["rows"][0]["kernel"] == "k0_linear_relu"


def test_explain_counts_nothing_of_compiled_code(run, saved: Path) -> None:
    done = run("explain", saved, "--static")
    assert done.status == 1
    assert "compiled already" in done.err


def test_explain_draws_nothing_that_was_not_measured(run, tmp_path: Path) -> None:
    done = run("explain", FUNCTION, "--static", "--plot", tmp_path / "x.png")
    assert done.status == 2
    assert "not for --static" in done.err


def test_explain_writes_a_trace(run, saved: Path, tmp_path: Path) -> None:
    done = run("explain", saved, "--trace", tmp_path / "x.json", "--threads", 1, "-q")
    assert done.status == 0, done.err
    trace = json.loads((tmp_path / "x.json").read_text())
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert {event["tid"] for event in slices} == {0}
    assert all(event["name"] in done.out for event in slices)


def test_explain_draws_the_roofline(run, saved: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="an extra: pip install 'tensorc[plot]'")
    done = run("explain", saved, "--plot", tmp_path / "x.png", "-q")
    assert done.status == 0, done.err
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_who_draws_says_how_to_get_what_it_takes(
    run, monkeypatch: pytest.MonkeyPatch, saved: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr("tc.cli.roofline.find_spec", lambda _: None)
    for command in (("explain", saved), ("tune", FUNCTION)):
        done = run(*command, "--plot", tmp_path / "x.png")
        assert (done.status, done.out) == (1, "")
        assert done.err == (
            "error: --plot: it draws with matplotlib, which is not installed; "
            "pip install 'tensorc[plot]'\n"
        )


def test_explain_cannot_write_into_a_missing_folder(run, saved: Path, tmp_path: Path) -> None:
    done = run("explain", saved, "--trace", tmp_path / "no" / "x.json", "-q")
    assert done.status == 1
    assert "No such file or directory; give a path to write to" in done.err


def test_explain_a_damaged_file(run, saved: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tc"
    broken.write_bytes(saved.read_bytes()[:-100])
    done = run("explain", broken, "-q")
    assert (done.status, done.err.count("\n")) == (1, 1)


def test_a_compiled_model_runs_where_there_is_no_torch(saved: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from tc.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        [*command, "bench", str(saved), "--repeat", "2", "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["latency"]["tc"]["calls"] == 2
