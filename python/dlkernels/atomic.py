"""A file that is either the old one or the new one, whatever happens in between.

The bytes go to a temporary file in the same directory (a rename cannot cross file systems), are forced to the
disk, and take the name with one rename; forcing the directory makes the rename itself survive a power cut. A
process killed before the rename leaves the old file whole and a temporary file behind, which the next save in
that directory removes.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import BinaryIO

_serial = count()  # two threads that save the same name at once must not share a temporary file
_HOST = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())
_TEMPORARY = re.compile(rf"\.tmp-{_HOST}-(\d+)-\d+-.+")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file for writing that becomes `path` when the block ends well, and vanishes when it
    raises.

    A symbolic link is followed: the file it points to is replaced. The directory is created if need be.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    temporary = target.with_name(f".tmp-{_HOST}-{os.getpid()}-{next(_serial)}-{target.name}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(target.parent)


def _sync_directory(folder: Path) -> None:
    if os.name != "posix":  # Windows cannot open a directory
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove what killed processes of this machine left behind; a live process's file is its own business."""
    for path in folder.iterdir():
        match = _TEMPORARY.fullmatch(path.name)
        if match and not _alive(int(match[1])):
            with contextlib.suppress(OSError):
                path.unlink()


def _alive(pid: int) -> bool:
    if os.name != "posix":
        return True  # os.kill would end the process there; leave the file
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
