"""TC_DUMP_IR and TC_DEBUG: what a user sees of a compilation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tc
from tc.dump import dumper
from tc.errors import UnsupportedError


def test_nothing_is_wanted() -> None:
    assert dumper(None, 0) is None


def test_files_are_numbered_in_the_order_of_the_passes(tmp_path: Path) -> None:
    for _ in range(2):
        dump = dumper(tmp_path / "ir", 0)
        assert dump is not None
        dump("import", "the graph")
        dump("k0_gemm.scheduled", "the loops")
    found = sorted(f.relative_to(tmp_path / "ir").as_posix() for f in tmp_path.rglob("*.txt"))
    assert found == [
        f"program{n}/{name}.txt"
        for n in range(2)
        for name in ("0000_import", "0001_k0_gemm.scheduled")
    ]
    text = (tmp_path / "ir" / "program1" / "0001_k0_gemm.scheduled.txt").read_text()
    assert text == "the loops\n"


@pytest.mark.parametrize(
    ("debug", "shown"),
    [
        (1, ["schedule"]),
        (2, ["main", "schedule", "scheduled"]),
        (3, ["import", "main", "schedule", "scheduled", "unroll"]),
        (4, ["import", "main", "schedule", "scheduled", "unroll", "llvm"]),
    ],
)
def test_levels(debug: int, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    dump = dumper(None, debug)
    assert dump is not None
    for name in ("import", "main", "k.schedule", "k.scheduled", "k.unroll", "k.llvm"):
        dump(name, "IR")
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("---")]
    assert [line.removeprefix("--- ").removeprefix("k.") for line in lines] == shown


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnsupportedError, match=r"TC_DUMP_IR=.*cannot write there"):
        dumper(tmp_path / "file", 0)


def test_a_model_s_passes_are_written_to_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TC_DUMP_IR", str(tmp_path))
    monkeypatch.setenv("TC_DEBUG", "1")
    model = torch.nn.Linear(4, 3).eval()
    x = torch.rand(2, 4)
    with torch.no_grad():
        for _ in range(2):  # the second time too: what is in the cache is not seen
            torch.testing.assert_close(tc.compile(model)(x), model(x))
    for program in ("program0", "program1"):
        names = [f.stem.split("_", 1)[1] for f in sorted((tmp_path / program).iterdir())]
        assert names[:2] == ["import", "dead_code"]
        endings = {name.rpartition(".")[2] for name in names}
        assert {"main", "naive", "scheduled", "vectorize", "llvm"} <= endings
    assert "vectorize(" in capsys.readouterr().err
