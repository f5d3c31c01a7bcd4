"""Standalone C: a compiled model as a folder of C sources, weights and a Makefile.

The programs are data (`tc.device.artifact`), and so is everything that is written of them: tables
and calls in `model.c`, one function for each kernel. What does not depend on the model is C text
in `runtime/`. This package must not know any framework, nor schedule a kernel.
"""
