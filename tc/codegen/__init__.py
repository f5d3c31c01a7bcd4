"""Code generation: flat vector IR to machine code (llvm) or to C source text (c)."""
