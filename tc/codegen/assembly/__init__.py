"""Assembly as text: its inner loops, what their instructions do, and a machine model's time.

Of whichever compiler: the syntax of LLVM and gcc on AArch64, and AT&T's on x86-64. This package
must not compile anything, nor measure.
"""
