# The compiled CUDA target is private, like _core, and there only in a build with nvcc.
from typing import Any

def __getattr__(name: str) -> Any: ...
