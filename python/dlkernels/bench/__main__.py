"""``python -m dlkernels.bench``: the same as ``dlkernels bench``."""

from __future__ import annotations

import sys

from dlkernels.bench.command import main

if __name__ == "__main__":
    sys.exit(main())
