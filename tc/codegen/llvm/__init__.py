"""Flat vector IR to machine code through llvmlite, the only place that knows LLVM."""
