"""`python -m bench` in a checkout: the suite itself is part of the package, so that `dlkernels bench` has it too."""

from __future__ import annotations

import sys

from dlkernels.bench.command import main

if __name__ == "__main__":
    sys.exit(main())
