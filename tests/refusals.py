"""How the tests of errors ask for a refusal, and the calls to ask it of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CALLS, Call


def refused(kind: type[Exception], call: Call, *texts: str, **changes: Any) -> None:
    """The call raises `kind`; the text begins with the op's name and contains `texts`; `out`, if given, keeps its bytes."""
    out = changes.get("out")
    before = out.tobytes() if isinstance(out, np.ndarray) else None
    with pytest.raises(kind) as caught:
        call(**changes)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert message.startswith(f"{call.name}: "), message
    for text in texts:
        assert text in message, f"{text!r} is not in {message!r}"
    if before is not None:
        assert out.tobytes() == before, "out was written"


def each_array(found: list[Call] = CALLS) -> list[Any]:
    """Each floating array argument of each call."""
    return [pytest.param(c, arg, id=f"{c.name}-{arg}") for c in found for arg in c.float_arrays]


def each_call(found: list[Call]) -> Any:
    return pytest.mark.parametrize("call", found, ids=str)
