"""Saved Hugging Face models through the real pipeline: NumPy in and out, errors, sharing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import tc
from tc.frontend.hf import dispatcher_of
from tests.models import entry


def test_a_classifier_runs_on_numpy(tmp_path: Path) -> None:
    one = entry("bert-sequence")
    model, inputs = one.build(), one.inputs(3, 17)
    tc.compile(model, threads=1).save(tmp_path / "bert.tc")
    loaded = tc.load(tmp_path / "bert.tc", threads=1)
    assert {c.label for c in loaded.signature.symbols} == {"batch", "length"}
    for batch, length in ((3, 17), (1, 1), (2, 40)):
        inputs = one.inputs(batch, length)
        with torch.no_grad():
            wanted = model(**inputs).logits.numpy()
        given = {name: tensor.numpy() for name, tensor in inputs.items()}
        np.testing.assert_allclose(loaded(**given).logits, wanted, rtol=1e-5, atol=1e-5)
        found = loaded(**inputs)["logits"]
        assert isinstance(found, torch.Tensor)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-5)
    given["input_ids"] = np.full_like(given["input_ids"], 9999)
    with pytest.raises(tc.TcError, match="input input_ids: holds id 9999"):
        loaded(**given)
    given["input_ids"] = np.full(given["input_ids"].shape, np.nan, np.float32)
    with pytest.raises(tc.TcError, match="input input_ids: is of dtype float32"):
        loaded(**given)
    long = {name: np.ones((1, 500), np.int64) for name in given}
    with pytest.raises(tc.TcError, match="the model (allows|has)"):
        loaded(**long)


def test_a_saved_model_says_that_it_does_not_generate(tmp_path: Path) -> None:
    one = entry("gpt2-lm")
    model, inputs = one.build(), one.inputs(1, 5)
    cm = tc.compile(model, threads=1)
    with torch.no_grad():
        cm(**inputs)
        cm.generate(**inputs, max_new_tokens=2, do_sample=False)
    cm.save(tmp_path / "gpt2.tc")
    loaded = tc.load(tmp_path / "gpt2.tc", threads=1)
    assert len(loaded.signatures) == 1
    with pytest.raises(tc.TcError, match="not those of generation"):
        loaded.generate(**inputs)


def test_programs_of_one_model_share_their_weights() -> None:
    one = entry("gpt2-lm")
    model, inputs = one.build(), one.inputs(1, 5)
    cm = tc.compile(model, threads=1)
    with torch.no_grad():
        ours = cm.generate(**inputs, max_new_tokens=4, do_sample=False)
        assert torch.equal(ours, model.generate(**inputs, max_new_tokens=4, do_sample=False))
    dispatcher = dispatcher_of(cm)
    assert dispatcher is not None
    runners = [*(p.runner for p in dispatcher.programs), *cm.generate.runners]
    held = [runner.program._weights.blocks.values() for runner in runners]
    assert len(held) > 1
    distinct = {block.address for blocks in held for block in blocks}
    assert len(distinct) < sum(map(len, held))


class Counting(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.add_(1.0)
        return x * 2.0


def test_what_is_read_only_is_not_written_to(tmp_path: Path) -> None:
    cm = tc.compile(Counting().eval(), example_inputs=(torch.zeros(3, 4),), threads=1)
    cm.save(tmp_path / "counting.tc")
    loaded = tc.load(tmp_path / "counting.tc", threads=1)
    x = np.zeros((3, 4), np.float32)
    assert (loaded(x) == 2.0).all() and (x == 1.0).all()
    np.save(tmp_path / "x.npy", x)
    for given in (x, x.reshape(4, 3).T, np.load(tmp_path / "x.npy", mmap_mode="r")):
        given.flags.writeable = False
        with pytest.raises(tc.TcError, match="input x: is read-only, and the model writes to it"):
            loaded(given)
    assert (x == 1.0).all()
