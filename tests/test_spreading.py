"""How tests are spread over processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import zoo
from tests.spreading import LONGEST, MODELS, SCRIPTS, Longest, group_of


def test_every_model_of_the_zoo_is_known() -> None:
    assert {each.name for each in zoo()} == MODELS


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/a/test_b.py::test_c", "tests/a/test_b.py"),
        ("tests/a/test_b.py::test_c[bert-qa]", "model bert-qa"),
        ("tests/a/test_b.py::test_c[(1, 1)-t5-encoder]", "model t5-encoder"),
        ("tests/a/test_b.py::test_c[bert-x]", "tests/a/test_b.py"),
        ("tests/a/test_b.py::test_c[no-bert", "tests/a/test_b.py"),
        ("tests/test_examples.py::test_c", "scripts"),
    ],
)
def test_groups(nodeid: str, group: str) -> None:
    assert group_of(nodeid) == group


def test_long_groups_begin_first_then_those_of_many_tests() -> None:
    root = Path(__file__).parent.parent
    files = [*(name for name in LONGEST if name.endswith(".py")), *SCRIPTS]
    models = [name.removeprefix("model ") for name in LONGEST if name.startswith("model ")]
    assert MODELS.issuperset(models) and len(files) - len(SCRIPTS) + len(models) + 1 == len(LONGEST)
    assert [name for name in files if not (root / name).exists()] == []
    groups = Longest({"few": [1], LONGEST[1]: [1], "many": [1, 2], LONGEST[0]: [1]})
    assert [groups.popitem()[0] for _ in range(4)] == [*LONGEST[:2], "many", "few"]
    assert not groups
