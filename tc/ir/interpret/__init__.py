"""The NumPy interpreter: slow and obvious, the definition of what the IR means.

`run` executes a kernel at any stage between lowering and code generation, `evaluate` a tensor
expression directly. Whatever a schedule, a pass or a code generator does is right when it gives
what these give. Nothing here may be used where speed matters.

bfloat16, which NumPy lacks, is stored as its bits in uint16: see `to_bf16` and `from_bf16`.
"""

from tc.ir.interpret.loops import run
from tc.ir.interpret.numeric import from_bf16, storage, to_bf16
from tc.ir.interpret.tensors import evaluate

__all__ = ["evaluate", "from_bf16", "run", "storage", "to_bf16"]
