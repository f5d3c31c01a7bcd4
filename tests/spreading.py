"""How `make test` spreads the tests over processes: what shares something costly stays together.

A model of the zoo is captured once for all its tests, whichever files these are in; what a file
shares is made once for the rest of its tests. This module must not import the zoo, nor torch.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

from xdist.scheduler import LoadFileScheduling

_ZOO = (Path(__file__).parent / "models.py").read_text(encoding="utf-8")
MODELS = frozenset(re.findall(r'^    _entry\(\s*"([\w-]+)"', _ZOO, re.MULTILINE))
_CASE = re.compile(rf"[\[-]({'|'.join(sorted(MODELS, key=len, reverse=True))})\]$")


def group_of(nodeid: str) -> str:
    """The model whose name ends the case of a test, else its file or what that shares."""
    case = _CASE.search(nodeid)
    file = nodeid.partition("::")[0]
    if case:
        return f"model {case[1]}"
    return "scripts" if file in SCRIPTS else file


# Their scripts are forked from one process (tests/warm.py).
SCRIPTS = (
    "tests/docs/test_pages.py",
    "tests/docs/test_tutorial.py",
    "tests/test_examples.py",
    "tests/test_warm.py",
)

# The groups that take longest, some for they have few tests that each take long: they begin first,
# so that at the end no process waits for another's. All others take the longer the more tests they
# have.
LONGEST = (
    "scripts",
    "tests/test_precision.py",
    "tests/frontend/test_generate.py",
    "tests/schedule/test_attention.py",
    "tests/test_models_encoders.py",
    "model llama-lm",
    "model t5",
    "tests/schedule/test_defaults.py",
    "tests/standalone/test_generation.py",
    "model gpt2-lm",
    "tests/test_models_decoders.py",
    "tests/frontend/test_generate_ways.py",
    "tests/frontend/test_layers_nn.py",
    "tests/frontend/test_recall_processes.py",
    "tests/ops/test_c.py",
    "tests/frontend/test_composites.py",
    "tests/autotune/test_space.py",
    "tests/autotune/test_tune.py",
    "tests/standalone/test_words.py",
    "tests/test_numerics.py",
    "tests/frontend/test_recurrent.py",
    "tests/frontend/test_dynamo.py",
    "tests/cli/test_cli_commands.py",
    "tests/codegen/test_c_kernels.py",
    "tests/standalone/test_short.py",
    "tests/schedule/test_wide.py",
    "tests/frontend/test_recall.py",
    "model llama",
    "tests/frontend/test_recall_key.py",
    "tests/frontend/test_experts.py",
    "tests/frontend/test_codegen_c.py",
    "tests/frontend/test_transforms.py",
    "tests/frontend/test_sorting.py",
    "tests/benchmarks/test_tuning_rows.py",
    "tests/test_package.py",
    "tests/test_bad_input.py",
    "tests/autotune/test_session.py",
    "tests/autotune/test_cluster.py",
    "tests/autotune/test_measure.py",
    "tests/standalone/test_objects.py",
    "tests/cli/test_cli_tune.py",
    "tests/test_kernel_store.py",
    "tests/graph/test_join_attention.py",
    "tests/frontend/test_tasks.py",
    "tests/frontend/test_recall_ahead.py",
    "tests/frontend/test_recall_traces.py",
    "tests/frontend/test_capture_masked.py",
    "tests/frontend/test_labels.py",
    "tests/codegen/test_c_rows.py",
    "tests/codegen/test_c_random.py",
    "tests/autotune/test_shipped.py",
    "tests/schedule/test_random.py",
)


class Longest(OrderedDict[str, Any]):
    """Groups of tests by name, of which the one that takes longest comes out first."""

    def popitem(self, last: bool = False) -> tuple[str, Any]:
        assert not last
        known = next((name for name in LONGEST if name in self), None)
        name = known or max(self, key=lambda each: len(self[each]))
        return name, self.pop(name)


class ByModelAndFile(LoadFileScheduling):
    """`--dist loadfile`, with the tests of a model taken out of their files, long groups first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.workqueue = Longest()

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
