"""What a layer is: forward -> (y, backprop), the buffers it keeps, its parameters and their gradients.

Memory is the point. In training every layer writes into buffers that it keeps, and works in place wherever
the array is its own or its neighbor's and nobody needs the old values, so that a step allocates nothing. The
price: y, and what backprop returns, are valid until the same layer's next training pass. A stale backprop
raises; it never computes with overwritten activations. Inference (`predict`) reads the parameters only and is
safe from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from dlkernels import arguments

if TYPE_CHECKING:
    from typing_extensions import Self

Array = Any  # numpy.ndarray or cupy.ndarray: only functions that dispatch on the array are called
Backprop = Callable[..., Array]


class Buffers:
    """Scratch arrays by name. A smaller batch gets the first rows of the array that the largest one
    needed.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Array] = {}

    def __call__(self, name: str, shape: Sequence[int], like: Array) -> Array:
        """An uninitialized array of `shape` with the library, device and dtype of `like`."""
        kept = self._kept.get(name)
        if (
            kept is None
            or kept.shape[0] < shape[0]
            or kept.shape[1:] != tuple(shape[1:])
            or kept.dtype != like.dtype
            or type(kept) is not type(like)
        ):
            kept = self._kept[name] = np.empty_like(like, shape=tuple(shape), order="C")
        return kept if kept.shape[0] == shape[0] else kept[: shape[0]]


def _as_array(value: Any) -> Array:
    """A CuPy array as it is, anything else on the host as NumPy sees it: a view, also of a PyTorch tensor."""
    if hasattr(value, "__cuda_array_interface__"):
        return value
    if str(getattr(value, "dtype", "")) == "torch.bfloat16":  # which PyTorch does not hand to NumPy
        import ml_dtypes

        return value.view(dtype=_torch_int16(value)).numpy().view(ml_dtypes.bfloat16)
    return np.asarray(value)


def _torch_int16(tensor: Any) -> Any:
    import sys

    return sys.modules[type(tensor).__module__.partition(".")[0]].int16


class Layer:
    """Base of every layer. A subclass gives `forward` and `predict`, and `parameters` when it has any.

    ``forward(x, own) -> (y, backward)`` with ``backward(dy, own, need_dx) -> dx or None``. `own` says that x
    (or dy) is a buffer which may be overwritten; arrays of the caller never are.
    """

    keeps_output: bool = False  # backward needs y, so the next layer must not overwrite it
    is_view: bool = False  # y is x seen differently: whoever owned x still does
    frozen: bool = False  # see freeze()

    def __init__(self) -> None:
        self.buffers = Buffers()
        self._gradients: dict[str, Array] = {}
        self._filled: set[str] = set()  # names whose gradient is valid since zero_grad
        self._passes = 0

    # -- what a subclass gives ---------------------------------------------------------------------------

    def forward(self, x: Array, own: bool) -> tuple[Array, Backprop]:
        raise NotImplementedError(f"{type(self).__name__}.forward(x, own) -> (y, backward)")

    def predict(self, x: Array) -> Array:
        """y for inference: a new array (or x itself where the layer does nothing); no state is read or
        written.
        """
        raise NotImplementedError(f"{type(self).__name__}.predict(x) -> y")

    def parameters(self) -> dict[str, Array]:
        """This layer's own parameters by name."""
        return {}

    def statistics(self) -> dict[str, Array]:
        """Arrays of this layer that are saved with the parameters but not trained, such as running means."""
        return {}

    def place(self, name: str, array: Array) -> None:
        """Put another array in the place of a parameter or a statistic."""
        setattr(self, name, array)

    def children(self) -> Sequence[Layer]:
        return ()

    def reset(self, seed: int | np.random.SeedSequence) -> None:
        """Draw fresh parameters (and the dropout stream) from `seed`."""

    def freeze(self, frozen: bool = True) -> None:
        """From now on a training pass computes what inference does: running statistics and dropout masks stand still. Parameters
        get gradients all the same; whether they are updated is the optimizer's matter.
        """
        self.frozen = frozen
        for child in self.children():
            child.freeze(frozen)

    def random_state(self) -> dict[str, int]:
        """What the layer's randomness depends on, by name, as plain integers; see `load_random_state`."""
        return {}

    def check_random_state(self, state: Mapping[str, int]) -> None:
        """Raise unless `state` has the names of this layer's `random_state`."""
        if state.keys() != self.random_state().keys():
            raise ValueError(f"load_random_state: wanted {sorted(self.random_state())}, got {sorted(state)}.")

    def load_random_state(self, state: Mapping[str, int]) -> None:
        """Take back what `random_state` gave."""
        self.check_random_state(state)

    # -- calling -----------------------------------------------------------------------------------------

    @overload
    def __call__(self, x: Array, train: Literal[False] = False) -> Array: ...
    @overload
    def __call__(self, x: Array, train: Literal[True]) -> tuple[Array, Backprop]: ...
    def __call__(self, x: Array, train: bool = False) -> Any:
        """``layer(x, train=True) -> (y, backprop)``; ``layer(x) -> y`` is `predict`.

        ``backprop(dy, need_dx=True)`` adds to `grads` and returns dx (None with need_dx=False, which a first
        layer is cheaper without).
        """
        if not train:
            return self.predict(x)
        y, backward = self.train_pass(x, own=False)

        def backprop(dy: Array, need_dx: bool = True) -> Array | None:
            arguments.array("backprop", "dy", dy)
            if dy.shape != y.shape:
                raise ValueError(f"backprop: dy must have y's shape {y.shape}, got {dy.shape}.")
            if dy.dtype != y.dtype:
                raise TypeError(
                    f'backprop: dy must be {y.dtype} like y, got {dy.dtype}. Cast it: dy.astype("{y.dtype}").'
                )
            return backward(dy, False, need_dx)

        return y, backprop

    def train_pass(self, x: Array, own: bool) -> tuple[Array, Backprop]:
        """`forward`, with a backward that refuses to run once a later pass has overwritten its
        activations.
        """
        y, backward = self.forward(x, own)
        self._passes += 1
        this_pass = self._passes

        def guarded(dy: Array, own: bool, need_dx: bool) -> Array | None:
            if this_pass != self._passes:
                raise RuntimeError(
                    f"{type(self).__name__}: this backprop belongs to an earlier forward pass, "
                    f"whose activations have been overwritten. "
                    f"Call backprop before the next training pass, or use two models."
                )
            return backward(dy, own, need_dx)

        return y, guarded

    # -- parameters and gradients ------------------------------------------------------------------------

    def named_parameters(self) -> dict[str, Array]:
        """Parameters by PyTorch's state_dict names: "0.weight", "0.bias", "2.weight", ... The arrays, not
        copies.
        """
        named = self.parameters()
        for index, child in enumerate(self.children()):
            named.update({f"{index}.{name}": array for name, array in child.named_parameters().items()})
        return named

    def named_statistics(self) -> dict[str, Array]:
        """`statistics` of all layers, named as the parameters are."""
        named = self.statistics()
        for index, child in enumerate(self.children()):
            named.update({f"{index}.{name}": array for name, array in child.named_statistics().items()})
        return named

    def params(self) -> list[Array]:
        """Parameters as a list: what an optimizer takes."""
        return list(self.named_parameters().values())

    def grads(self) -> list[Array | None]:
        """Gradients in the order of `params`; None where no backprop has run since `zero_grad`."""
        own = [self._gradients[name] if name in self._filled else None for name in self.parameters()]
        return own + [gradient for child in self.children() for gradient in child.grads()]

    def zero_grad(self) -> None:
        """Forget the gradients. The next backprop overwrites instead of adding, so nothing is filled with
        zeros.
        """
        self._filled.clear()
        for child in self.children():
            child.zero_grad()

    def accumulate(self, name: str, like: Array, compute: Callable[[Array], Any]) -> None:
        """Add to gradient `name` what ``compute(out)`` writes; the first time it is written in place."""
        if name not in self._gradients:
            self._gradients[name] = np.empty_like(like)
        gradient = self._gradients[name]
        if name in self._filled:
            scratch = self.buffers("scratch." + name, like.shape, like)
            compute(scratch)
            np.add(gradient, scratch, out=gradient)
        else:
            compute(gradient)
            self._filled.add(name)

    def to(self, library: Any) -> Self:
        """Moves parameters and statistics into arrays of `library`, the module numpy or cupy, and returns the layer. Gradients are
        forgotten; make the optimizer afterwards, from the new `params()`.

        Example:
            model = dk.nn.Sequential(dk.nn.Linear(784, 10)).to(cupy)  # from now on it takes CuPy arrays
        """
        if getattr(library, "__name__", "") not in {"numpy", "cupy"}:
            raise TypeError(f"to: wanted the module numpy or cupy, got {library!r}.")
        for child in self.children():
            child.to(library)
        for name, array in {**self.parameters(), **self.statistics()}.items():
            on_host = array.get() if hasattr(array, "get") else array
            self.place(name, library.asarray(on_host))
        self.buffers = Buffers()
        self._gradients.clear()
        self._filled.clear()
        return self

    def state_dict(self) -> dict[str, Array]:
        """The parameters and the statistics by name: PyTorch's keys and layouts.

        To PyTorch: ``theirs.load_state_dict({k: torch.from_numpy(a.copy()) for k, a in ours.state_dict().items()})``.
        From PyTorch: ``ours.load_state_dict(theirs.state_dict())``.
        """
        return {**self.named_parameters(), **self.named_statistics()}

    def check_state_dict(self, state: Mapping[str, Any]) -> dict[str, Array]:
        """`state` as arrays; raises unless it has exactly this model's names, shapes and dtypes. Statistics may be of another floating
        dtype: PyTorch rounds them to 16 bits with the parameters, which here they never are.
        """
        mine = self.state_dict()
        missing, unknown = sorted(mine.keys() - state.keys()), sorted(state.keys() - mine.keys())
        if missing or unknown:
            raise ValueError(
                f"load_state_dict: missing {missing}, not in this model {unknown}. Build the same layers first."
            )
        theirs = {name: _as_array(state[name]) for name in mine}
        statistics = self.named_statistics().keys()
        for name, array in mine.items():
            got = theirs[name]
            if name in statistics and got.dtype.kind != "i" and array.dtype.kind == "f":
                got = theirs[name] = got.astype(array.dtype)
            if got.shape != array.shape or got.dtype != array.dtype:
                raise ValueError(
                    f"load_state_dict: {name} must be {array.dtype} {array.shape}, got {got.dtype} {got.shape}."
                )
        return theirs

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy parameters from `state` (arrays or PyTorch CPU tensors), once every name, shape and dtype is right."""
        theirs = self.check_state_dict(state)
        for name, array in self.state_dict().items():
            array[...] = theirs[name]

    def save(self, path: str | PathLike[str]) -> None:
        """Write the parameters to a safetensors file: atomic, checksummed, no pickle (dk.train.save)."""
        from dlkernels import checkpoint

        checkpoint.save(path, self.state_dict())

    def load(self, path: str | PathLike[str]) -> None:
        """Read parameters from a file of `save` or of dk.train.Checkpoint; nothing changes unless all of it
        is right.
        """
        from dlkernels import checkpoint

        self.load_state_dict(checkpoint.weights(checkpoint.load(path).arrays))

    def summary(self) -> str:
        """A table of the layers: name, layer, parameter shapes, count."""
        rows = [("", "layer", "parameters", "count")]
        for name, layer in self.leaves():
            shapes = ", ".join(f"{key} {tuple(array.shape)}" for key, array in layer.parameters().items())
            rows.append((name, repr(layer), shapes, f"{sum(a.size for a in layer.parameters().values()):,}"))
        total, size = sum(a.size for a in self.params()), sum(a.nbytes for a in self.params())
        rows.append(("", "total", f"{size / 2**20:.2f} MiB", f"{total:,}"))
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(f"{a:<{wide[0]}}  {b:<{wide[1]}}  {c:<{wide[2]}}  {d:>{wide[3]}}" for a, b, c, d in rows)

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """(name, layer) for every layer without children, in the order in which they run."""
        if not self.children():
            yield prefix or "0", self
        for index, child in enumerate(self.children()):
            yield from child.leaves(f"{prefix}.{index}" if prefix else str(index))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
