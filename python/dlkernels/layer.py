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
from typing import Any, Literal, overload

import numpy as np

from dlkernels import init as initializers

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


class Layer:
    """Base of every layer. A subclass gives `forward` and `predict`, and `parameters` when it has any.

    ``forward(x, own) -> (y, backward)`` with ``backward(dy, own, need_dx) -> dx or None``. `own` says that x
    (or dy) is a buffer which may be overwritten; arrays of the caller never are.
    """

    keeps_output: bool = False  # backward needs y, so the next layer must not overwrite it
    is_view: bool = False  # y is x seen differently: whoever owned x still does

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

    def children(self) -> Sequence[Layer]:
        return ()

    def reset(self, seed: int | np.random.SeedSequence) -> None:
        """Draw fresh parameters (and the dropout stream) from `seed`."""

    def random_state(self) -> dict[str, int]:
        """What the layer's randomness depends on, by name, as plain integers; see `load_random_state`."""
        return {}

    def load_random_state(self, state: Mapping[str, int]) -> None:
        if state:
            raise ValueError(f"{self!r}: unknown random state {sorted(state)}.")

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
            if dy.shape != y.shape:
                raise ValueError(f"backprop: dy must have y's shape {y.shape}, got {dy.shape}.")
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

    def state_dict(self) -> dict[str, Array]:
        """The parameters by name, as `named_parameters`: PyTorch's keys and layouts."""
        return self.named_parameters()

    def check_state_dict(self, state: Mapping[str, Array]) -> None:
        """Raise unless `state` has exactly this model's names, shapes and dtypes."""
        mine = self.named_parameters()
        missing, unknown = sorted(mine.keys() - state.keys()), sorted(state.keys() - mine.keys())
        if missing or unknown:
            raise ValueError(
                f"load_state_dict: missing {missing}, not in this model {unknown}. Build the same layers first."
            )
        for name, array in mine.items():
            theirs = state[name]
            if theirs.shape != array.shape or theirs.dtype != array.dtype:
                raise ValueError(
                    f"load_state_dict: {name} must be {array.dtype} {array.shape}, got {theirs.dtype} {theirs.shape}."
                )

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy parameters from `state`, after every name, shape and dtype has been found right."""
        self.check_state_dict(state)
        for name, array in self.named_parameters().items():
            array[...] = state[name]

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
        for name, layer in leaves(self):
            shapes = ", ".join(f"{key} {tuple(array.shape)}" for key, array in layer.parameters().items())
            rows.append((name, repr(layer), shapes, f"{sum(a.size for a in layer.parameters().values()):,}"))
        total, size = sum(a.size for a in self.params()), sum(a.nbytes for a in self.params())
        rows.append(("", "total", f"{size / 2**20:.2f} MiB", f"{total:,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{max(len(r[3]) for r in rows)}}"
            for a, b, c, d in rows
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def leaves(layer: Layer, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """(name, layer) for every layer without children, in the order in which they run."""
    if not layer.children():
        yield prefix or "0", layer
    for index, child in enumerate(layer.children()):
        yield from leaves(child, f"{prefix}.{index}" if prefix else str(index))


class Sequential(Layer):
    """Layers one after the other. ``seed`` redraws all of them, each from its own stream.

    >>> from dlkernels import nn
    >>> nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10), seed=0)
    Sequential(Linear(64, 32), ReLU(), Dropout(0.2), Linear(32, 10))
    """

    def __init__(self, *layers: Layer, seed: int | None = None) -> None:
        super().__init__()
        for position, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"Sequential: layer {position} must be a dk.nn layer, got {type(layer).__name__}. "
                    f"Make it one, for instance nn.ReLU()."
                )
        self.layers = layers
        found = [id(layer) for _, layer in leaves(self)] if layers else []
        if len(set(found)) != len(found):
            raise ValueError(
                "Sequential: a layer object appears twice, but its buffers hold one pass. Create a second layer."
            )
        self.is_view = all(layer.is_view for layer in layers)
        self.keeps_output = next((layer.keeps_output for layer in reversed(layers) if not layer.is_view), False)
        # Without dx, backward may stop at the first layer that has parameters.
        self._first = next((i for i, layer in enumerate(layers) if layer.named_parameters()), len(layers))
        if seed is not None:
            self.reset(seed)

    def children(self) -> Sequence[Layer]:
        return self.layers

    def reset(self, seed: int | np.random.SeedSequence) -> None:
        for index, layer in enumerate(self.layers):
            layer.reset(initializers.spawn(seed, index))

    def random_state(self) -> dict[str, int]:
        return {
            f"{i}.{key}": value for i, layer in enumerate(self.layers) for key, value in layer.random_state().items()
        }

    def load_random_state(self, state: Mapping[str, int]) -> None:
        if state.keys() != self.random_state().keys():
            raise ValueError(f"load_random_state: wanted {sorted(self.random_state())}, got {sorted(state)}.")
        for index, layer in enumerate(self.layers):
            prefix = f"{index}."
            layer.load_random_state({key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)})

    def forward(self, x: Array, own: bool) -> tuple[Array, Backprop]:
        backwards = []
        for layer in self.layers:
            x, backward = layer.train_pass(x, own)
            backwards.append(backward)
            own = (own or not layer.is_view) and not layer.keeps_output

        def backward_all(dy: Array, own: bool, need_dx: bool) -> Array | None:
            stop = 0 if need_dx else self._first
            for index in range(len(self.layers) - 1, stop - 1, -1):
                dy = backwards[index](dy, own, need_dx or index > stop)
                own = own or not self.layers[index].is_view
            return dy if need_dx else None

        return x, backward_all

    def predict(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer.predict(x)
        return x

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"
