"""The intermediate representation: tensor expressions, loops, and everything that reads them.

The rules of arithmetic, stated here once for the interpreter and both code generators:

- Integers wrap around in their width. `floordiv` and `mod` round towards minus infinity; a zero
  divisor is undefined. A shift by a width or more, or by a negative number, leaves no bit but the
  sign that `shr` fills up with.
- Float operations are IEEE and keep the order in which they are written; only `fma` rounds once.
  Reductions alone may be regrouped, and only by a schedule step that says so.
- `min` and `max` give NaN when either side is NaN; which zero they give of 0.0 and -0.0 is open.
- Comparisons with NaN are false, but `ne`, which is true.
- `select` and masked loads evaluate, and touch memory for, only what they pick.
- An index is an `i64`.
"""

from tc.ir import printer as _printer  # noqa: F401  (gives every node its text)
