"""Programs without some of their results: which steps are left."""

from __future__ import annotations

from tc.device.artifact import Artifact, KernelCall, Place, Repeat
from tc.ir.loop import Func
from tc.ir.parser import parse_func
from tc.standalone.prune import without_outputs
from tests.device.fake_code import N, kernel, storage, tensor

COPY = """\
def k(A: f32[n], B: out f32[n], n: sym[0, 9]):
    for i in range(n):
        B[i] = A[i]
"""
CHECK = COPY + '        assert 0.0:f32 < A[i], "it must be positive"\n'


def text(number: int) -> Func:
    return parse_func((COPY, CHECK)[number])


def test_steps_of_a_loop_stay_or_go_together_and_checks_of_data_stay() -> None:
    """The last of a loop writes what the first reads the next time."""
    loop = Repeat(0, "step", "n")
    turns = (KernelCall(0, (3, 4), ("n",), loop), KernelCall(0, (4, 3), ("n",), loop))
    one, other = KernelCall(0, (4, 1), ("n",)), KernelCall(0, (0, 2), ("n",))
    check = KernelCall(1, (0, 5), ("n",))  # to memory that nobody reads
    artifact = Artifact(
        target="generic",
        symbols=(N,),
        inputs=(tensor("x", "n"),),
        outputs=(tensor("y", "n"), tensor("z", "n")),
        params=(),
        storages=(
            storage(Place.INPUT, 0, "n"),
            storage(Place.OUTPUT, 0, "n"),
            storage(Place.OUTPUT, 1, "n"),
            storage(Place.TEMP, 0, "n"),
            storage(Place.TEMP, 1, "n"),
            storage(Place.TEMP, 2, "n"),
        ),
        prepare=(),
        main=(*turns, check, one, other),
        kernels=(kernel("k", "n"), kernel("check", "n")),
    )
    assert without_outputs(artifact, [0], text).main == (*turns, check, one)
    assert without_outputs(artifact, [1], text).main == (check, other)
