"""`python -m tc`: the command line, the same as the script `tensorc`. It must hold no logic."""

from __future__ import annotations

import sys

from tc.cli import main

if __name__ == "__main__":
    sys.exit(main())
