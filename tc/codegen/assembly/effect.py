"""What one instruction does: multiply-adds, and bytes from and to memory.

This module must not know any instruction.
"""

from __future__ import annotations

from tc.frozen import frozen


@frozen
class Effect:
    """What an instruction does.

    Attributes:
        products: how many products it adds to sums.
        kind: of the instructions that make such products, which `probes` of its architecture
            reads; "" where it makes none.
        loaded, stored: bytes of memory; 0: it does not.
        on_stack: its memory is the function's own.
    """

    products: int = 0
    kind: str = ""
    loaded: int = 0
    stored: int = 0
    on_stack: bool = False
