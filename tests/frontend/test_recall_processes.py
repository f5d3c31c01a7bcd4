"""Programs that one process has compiled are found by another.

What is compiled here is like nothing else, so that it is not found at first; its kernels may be.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from transformers import GPT2LMHeadModel

import tc
from tests.models import entry

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import sys
import torch
import tc
from transformers import GPT2LMHeadModel

made = tc.compile(GPT2LMHeadModel.from_pretrained(sys.argv[1]))
with torch.no_grad():
    result = made(**torch.load(sys.argv[1] + "/inputs.pt"))
print("hits", made.stats()["program_hits"])
leaves = [t for t in torch.utils._pytree.tree_leaves(result) if torch.is_tensor(t)]
torch.save(leaves, sys.argv[1] + "/leaves.pt")
"""

PLAIN = """
import sys
import torch
import tc

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.GELU(), torch.nn.LayerNorm(6)).eval()
model.note = "of this test"
made = tc.compile(model, example_inputs=(torch.ones(2, 4),))
made(torch.ones(5, 4))
print("hits", made.stats()["program_hits"])
unwanted = ("torch._dynamo", "torch._inductor", "sympy", "transformers", "tc.pipeline", "tc.ops",
            "torch.fx.experimental.symbolic_shapes", "tc.frontend.capture", "tc.schedule.defaults",
            "tc.codegen.c.kernel", "tc.codegen.llvm.emit", "tc.standalone.export")
print("imported", [name for name in unwanted if name in sys.modules])
"""


def run(script: str, *args: str) -> str:
    """What it prints, with its own order of sets."""
    done = subprocess.run(
        [sys.executable, "-c", script, *args],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_another_process_finds_the_program_and_computes_the_same(tmp_path: Path) -> None:
    model, inputs = entry("gpt2-lm").build(), entry("gpt2-lm").inputs(3, 17)
    model.config.note = "of this test"
    model.save_pretrained(tmp_path)
    torch.save(inputs, tmp_path / "inputs.pt")
    made = tc.compile(GPT2LMHeadModel.from_pretrained(tmp_path))
    assert made.stats()["program_hits"] == 0
    with torch.no_grad():
        result = made(**inputs)
    wanted = [t for t in torch.utils._pytree.tree_leaves(result) if torch.is_tensor(t)]
    assert run(SCRIPT, str(tmp_path)) == "hits 1\n"
    found = torch.load(tmp_path / "leaves.pt")
    assert len(found) == len(wanted) > 0
    assert all(map(torch.equal, found, wanted))


def test_a_process_that_finds_its_program_imports_nothing_that_traces_or_compiles() -> None:
    assert "hits 0" in run(PLAIN)
    warm = run(PLAIN)
    assert "hits 1" in warm
    assert "imported []" in warm
