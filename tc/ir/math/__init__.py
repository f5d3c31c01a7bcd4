"""Transcendental operators as polynomial arithmetic: one definition for every code generator.

`tc.ir.math.expand` is the entry; the other modules each hold one family of functions. Everything
here is made of add, mul, div, sqrt, fma, compares, selects and bit operations, without branches,
for scalars and vectors alike. Nothing here may depend on a code generator.
"""
