"""``python -m dlkernels`` and the console script; the commands are in cli.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with `argv` (default: sys.argv) and return its exit code."""
    from dlkernels.cli import main as run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
