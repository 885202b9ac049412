"""Layers in a row, and the plan of who may overwrite whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dlkernels import init as initializers
from dlkernels.layer import Array, Backprop, Layer


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
        found = [id(layer) for _, layer in self.leaves()]
        if len(set(found)) != len(found):
            raise ValueError(
                "Sequential: a layer object appears twice, but its buffers hold one pass. Create a second layer."
            )
        # Without dx, backward may stop at the first layer that has parameters.
        self._first = next((i for i, layer in enumerate(layers) if layer.named_parameters()), len(layers))
        if seed is not None:
            self.reset(seed)

    # Asked for each pass: freezing a layer may make it a view.

    @property
    def is_view(self) -> bool:  # type: ignore[override]
        return all(layer.is_view for layer in self.layers)

    @property
    def keeps_output(self) -> bool:  # type: ignore[override]
        return next((layer.keeps_output for layer in reversed(self.layers) if not layer.is_view), False)

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
        self.check_random_state(state)
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
