"""Einstein summation: one sum of products over the letters that the result does not have."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

from tc import te
from tc.errors import CompileError
from tc.ir.expr import Expr, cast
from tc.ir.tensor import Tensor
from tc.ops.contraction import check_sizes, contraction, times
from tc.ops.dims import ONE, ZERO, broadcast, known
from tc.ops.promotion import compute_type, result_type
from tc.ops.samples import array, sample


def _subscripts(equation: str, operands: Sequence[Tensor]) -> tuple[list[str], str]:
    """The letters of each operand and of the result; an ellipsis becomes digits and the like."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise CompileError(
            f"einsum {equation!r}: {len(terms)} terms for {len(operands)} operands; give one each"
        )
    spare = "".join(chr(0x3B1 + n) for n in range(24))
    longest = 0
    for n, (term, t) in enumerate(zip(terms, operands, strict=True)):
        hidden = t.rank - len(term.replace("...", ""))
        if hidden < 0 or ("..." not in term and hidden):
            raise CompileError(f"einsum {equation!r}: {term!r} for a tensor with {t.rank} dims")
        longest = max(longest, hidden)
        terms[n] = term.replace("...", spare[len(spare) - hidden :])
    dots = spare[len(spare) - longest :] if longest else ""
    if arrow:
        return terms, right.replace("...", dots)
    letters = "".join(terms)
    once = sorted(c for c in string.ascii_letters if letters.count(c) == 1)
    return terms, dots + "".join(once)


@contraction(
    "einsum",
    lambda equation, operands, _path=None: np.einsum(equation, *operands),
    sample("ij,jk->ik", (array(3, 8), array(8, 5)), None),
    sample("bhid,bhjd->bhij", (array(2, 3, 4, 8), array(2, 3, 5, 8)), None),
    sample("bij,bjk", (array(2, 3, 4), array(2, 4, 5)), None),
    sample("...ij,...jk->...ik", (array(2, 1, 3, 4), array(5, 4, 2)), None),
    sample("ii->i", (array(4, 4),), None),
    sample("ii", (array(4, 4),), None),
    sample("i,j->ij", (array(3), array(5)), None),
    sample("ijk->ki", (array(2, 3, 4),), None),
    sample("bn,anm,bm->ba", (array(2, 3), array(5, 3, 4), array(2, 4)), None),
)
def build_einsum(equation: str, operands: Sequence[Tensor], _path: object = None) -> Tensor:
    """The sum of products that `equation` says."""
    terms, result = _subscripts(equation, operands)
    sizes: dict[str, Expr] = {}
    for term, t in zip(terms, operands, strict=True):
        for letter, size in zip(term, t.shape, strict=True):
            before = sizes.get(letter, ONE)
            if before != ONE and size != ONE:
                check_sizes(before, size, f"einsum {equation!r}")
            (sizes[letter],) = broadcast("einsum", (before,), (size,))
    dtype = result_type(operands)
    summed = [c for c in dict.fromkeys("".join(terms)) if c not in result]

    def element(*index: Expr) -> Expr:
        at: dict[str, Expr] = dict(zip(result, index, strict=True))
        axes = [te.reduce_axis(sizes[c]) for c in summed]
        at.update(zip(summed, axes, strict=True))
        factors = [
            t[
                tuple(
                    ZERO if known(s) == 1 and known(sizes[c]) != 1 else at[c]
                    for c, s in zip(term, t.shape, strict=True)
                )
            ]
            for term, t in zip(terms, operands, strict=True)
        ]
        value = times(factors, compute_type(dtype))
        return cast(te.sum(value, axes) if axes else value, dtype)

    return te.compute([sizes[c] for c in result], element, te.fresh("einsum"))
