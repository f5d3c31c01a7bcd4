"""Boosted trees: what the library does when it is called without its package."""

from __future__ import annotations

import numpy as np
import pytest

from tc.autotune import boosting
from tc.autotune.boosting import BoostingError, Trees

PARAMETERS = {"objective": "reg:squarederror", "max_depth": 3, "eta": 0.2, "nthread": 1, "seed": 3,
              "subsample": 0.8, "verbosity": 0}  # fmt: skip
NAMES = ("a", "b", "c")
ROWS = np.random.default_rng(0).random((60, 3), np.float32)
LABELS = ROWS[:, 0] - ROWS[:, 1]


def test_they_are_those_of_the_package() -> None:
    xgboost = pytest.importorskip("xgboost")
    data = xgboost.DMatrix(ROWS, label=LABELS, feature_names=list(NAMES))
    theirs = xgboost.train(PARAMETERS, data, 20)
    more = xgboost.train(PARAMETERS, data, 5, xgb_model=theirs.save_raw())
    ours = Trees().trained(ROWS, LABELS, NAMES, PARAMETERS, 20)
    assert ours.predict(ROWS) == theirs.predict(data).tolist()
    again = ours.trained(ROWS, LABELS, NAMES, PARAMETERS, 5)
    assert again.predict(ROWS) == more.predict(data).tolist()
    assert ours.predict(ROWS) == theirs.predict(data).tolist()


@pytest.mark.parametrize("form", ["ubj", "json"])
def test_they_come_back_with_names_and_notes(form: str) -> None:
    made = Trees().trained(ROWS, LABELS, NAMES, PARAMETERS, 4)
    made.note("layout", "7")
    found = Trees.of(made.data(form))
    assert found.predict(ROWS) == made.predict(ROWS)
    assert found.names == list(NAMES)
    assert (found.noted("layout"), found.noted("other")) == ("7", None)


def test_what_is_wrong_is_said() -> None:
    for data in (b"", b"{}", b"no trees at all"):
        with pytest.raises(BoostingError, match="."):
            Trees.of(data)
    with pytest.raises(BoostingError, match="(?i)feature"):
        Trees().trained(ROWS, LABELS, NAMES, PARAMETERS, 2).predict(ROWS[:, :2])


def test_the_package_is_asked_for_a_library_that_lies_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = Trees().trained(ROWS, LABELS, NAMES, PARAMETERS, 4).predict(ROWS)
    monkeypatch.setattr(boosting, "_LIBRARIES", ())
    boosting._library.cache_clear()
    assert Trees().trained(ROWS, LABELS, NAMES, PARAMETERS, 4).predict(ROWS) == wanted
