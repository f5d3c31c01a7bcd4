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


def copy(_number: int) -> Func:
    return parse_func(COPY)


def test_steps_of_a_loop_stay_or_go_together() -> None:
    """The last of them writes what the first reads the next time."""
    loop = Repeat(0, "step", "n")
    turns = (KernelCall(0, (3, 4), ("n",), loop), KernelCall(0, (4, 3), ("n",), loop))
    one, other = KernelCall(0, (4, 1), ("n",)), KernelCall(0, (0, 2), ("n",))
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
        ),
        prepare=(),
        main=(*turns, one, other),
        kernels=(kernel("k", "n"),),
    )
    assert without_outputs(artifact, [0], copy).main == (*turns, one)
    assert without_outputs(artifact, [1], copy).main == (other,)
