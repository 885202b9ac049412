# The compiled core is private; its callers (_op.py) give their own types. Anything asked of it is Any.
from typing import Any

def __getattr__(name: str) -> Any: ...
