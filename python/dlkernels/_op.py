"""The decorators that turn a float64 definition into a compiled op; the only importer of the compiled core.

The body under a decorator is the definition: NumPy, float64, formula as in the docstring. The decorator reads its signature, builds the
compiled call with the same one, and keeps the body as ``.reference``. Tests, benchmarks and documentation are driven by `registry`.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from . import _arrays
from . import _core as core
from ._docs import op_doc, pass_doc

core._set_array_helpers(_arrays)

__all__ = [
    "Engine",
    "bias_act_op",
    "build_info",
    "channel_norm_op",
    "composed_loss",
    "core",
    "cuda_status",
    "gate_op",
    "loss_op",
    "map_op",
    "plain_op",
    "random_op",
    "registry",
    "require_cuda",
    "row_loss_op",
    "row_norm_op",
    "row_value_op",
    "rows_op",
    "slope_op",
]

registry: dict[str, Any] = {}

Engine: Any = core.Engine

Definition = Callable[..., Any]
Variants = Mapping[str, Mapping[Any, str]]
_Parameters = list[tuple[str, bool, bool]]  # name, required, keyword only


def _parameters(signature: inspect.Signature) -> _Parameters:
    return [(p.name, p.default is p.empty, p.kind is p.KEYWORD_ONLY) for p in signature.parameters.values()]


_LIMIT = re.compile(
    r"(?P<whole>an integer )?"
    r"(?:(?P<sign>[<>]=?) (?P<edge>\S+)|in (?P<left>[\[(])(?P<low>\S+), (?P<high>\S+)(?P<right>[\])]))$"
)
_NO_HYPER_PARAMETER = {"axis", "axes", "keepdims", "ignore_index"}


def _scalars(
    signature: inspect.Signature,
    limits: Mapping[str, str] | None = None,
    none: Mapping[str, float] | None = None,
    variants: Variants | None = None,
) -> list[dict[str, Any]]:
    """The hyper-parameters: numbers and bools with a default, and those of `none`, which may be None and are then the given number; but
    not those of `variants`, which choose the kernel.

    A limit is written as error texts say it: "> 0", ">= 0", "in (0, 1)", "in [0, 1)", "an integer >= 0", or "at least NAME"
    of an earlier one.
    """
    return _scalars_of(signature.parameters.values(), limits, none, variants)


def _scalars_of(
    parameters: Iterable[inspect.Parameter],
    limits: Mapping[str, str] | None = None,
    none: Mapping[str, float] | None = None,
    variants: Variants | None = None,
) -> list[dict[str, Any]]:
    limits, none, other = limits or {}, none or {}, _NO_HYPER_PARAMETER | set(variants or {})
    found: list[dict[str, Any]] = []
    for p in parameters:
        if p.name in other or not (type(p.default) in {int, float, bool} or p.name in none):
            continue
        text = limits.get(p.name, "")
        scalar = {
            "name": p.name,
            "fallback": float(none[p.name] if p.default is None else p.default),
            "flag": type(p.default) is bool,
            "optional": p.name in none,
            "whole": False,
            "limit": text,
            "low": -math.inf,
            "high": math.inf,
            "low_open": False,
            "high_open": False,
            "at_least": -1,
        }
        if text.startswith("at least "):
            scalar["at_least"] = [s["name"] for s in found].index(text.removeprefix("at least "))
        elif text:
            limit = _LIMIT.match(text)
            if limit is None:
                raise ValueError(f"{p.name}: a limit is written '> 0' or 'in (0, 1)', not {text!r}")
            scalar["whole"] = limit["whole"] is not None
            if sign := limit["sign"]:
                side = "low" if sign[0] == ">" else "high"
                scalar |= {side: float(limit["edge"]), f"{side}_open": len(sign) == 1}
            else:
                scalar |= {"low": float(limit["low"]), "high": float(limit["high"])}
                scalar |= {"low_open": limit["left"] == "(", "high_open": limit["right"] == ")"}
        found.append(scalar)
    return found


def _choices(signature: inspect.Signature, variants: Variants | None) -> list[dict[str, Any]]:
    """The arguments that choose the kernel: name, what each value adds to the kernel's name, and what the default adds."""
    return [
        {"name": name, "of": dict(of), "fallback": of[signature.parameters[name].default]}
        for name, of in (variants or {}).items()
    ]


def _quiet(definition: Definition) -> Definition:
    """Overflow to inf and NaN from inf - inf are part of the definitions, not worth a warning."""

    @functools.wraps(definition)
    def reference(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            return definition(*args, **kwargs)

    return reference


def _dress(call: Any, name: str, signature: inspect.Signature, doc: str, ulp: float) -> Any:
    call.__name__ = name.rpartition(".")[2]
    call.__qualname__ = name
    call.__module__ = "dlkernels"
    call.__doc__ = doc
    call.__signature__ = signature
    call.ulp = ulp
    return call


def _register(call: Any, definition: Definition, kind: str, ulp: float, source: str, **facts: Any) -> Any:
    """Gives the compiled call everything that tests, benchmarks and documentation read of an op."""
    name = definition.__name__
    _dress(call, name, inspect.signature(definition), op_doc(definition.__doc__ or "", kind, ulp, source), ulp)
    call.kind = kind
    call.source = source
    call.reference = _quiet(definition)
    for fact, value in facts.items():
        setattr(call, fact, value)
    registry[name] = call
    return call


def _signature(text: str) -> inspect.Signature:
    """The signature written as Python writes it: ``(dy, x=None, *, out=None)``."""
    scope: dict[str, Any] = {"inf": math.inf}
    exec(f"def f{text}: ...", scope)  # only texts of this package come here
    return inspect.signature(scope["f"])


def _with(signature: inspect.Signature, before: str, after: str) -> inspect.Signature:
    """`before`, then the hyper-parameters of an op's signature (those without default are in `before`), then `after`."""
    parts, keyword_only = [before], False
    for p in signature.parameters.values():
        if p.name == "out" or p.default is p.empty:
            continue
        if p.kind is p.KEYWORD_ONLY and not keyword_only:
            parts.append("*")
            keyword_only = True
        parts.append(f"{p.name}={p.default!r}")
    return _signature("(" + ", ".join([*parts, after.removeprefix("*, ") if keyword_only else after]) + ")")


def map_op(
    *,
    ulp: float,
    grad_ulp: float,
    source: str,
    domain: tuple[float, float],
    from_y: bool = False,
    y_needs_positive: str = "",
    variants: Variants | None = None,
    limits: Mapping[str, str] | None = None,
) -> Callable[[Definition], Any]:
    """An elementwise op of one array.

    `variants` names arguments that choose the kernel, and what each of their values adds to the kernel's name; `limits` says what a
    hyper-parameter must be.
    """

    def decorate(definition: Definition) -> Any:
        name = definition.__name__
        signature = inspect.signature(definition)
        choices = _choices(signature, variants)
        call = core._make_map(name, _parameters(signature), _scalars(signature, limits, None, variants), choices, name)
        shape = (
            _with(signature, "dy, x=None", "*, y=None, out=None")
            if from_y
            else _with(signature, "dy, x", "*, out=None")
        )
        backward = core._make_map_backward(
            f"{name}.backward",
            _parameters(shape),
            _scalars(shape, limits, None, variants),
            choices,
            name,
            from_y,
            y_needs_positive,
        )
        _dress(backward, f"{name}.backward", shape, pass_doc("map", name, grad_ulp, from_y=from_y), grad_ulp)
        return _register(
            call,
            definition,
            "map",
            ulp,
            source,
            domain=domain,
            from_y=from_y,
            backward=backward,
            variants=variants or {},
        )

    return decorate


def gate_op(
    *,
    ulp: float,
    grad_ulp: float,
    source: str,
    act: str,
    gate_is_first: bool = True,
    variants: Variants | None = None,
) -> Callable[[Definition], Any]:
    """value * act(gate) for two arrays, the op's first two arguments, or for one that holds both; `act` names the activation's op."""

    def decorate(definition: Definition) -> Any:
        name = definition.__name__
        signature = inspect.signature(definition)
        arrays = list(signature.parameters)[:2]
        first, second = arrays
        shape = _with(signature, f"dy, {first}", "out=None")
        choices = _choices(signature, variants)

        def build(suffix: str, of: inspect.Signature, which: str) -> Any:
            return core._make_gate(name + suffix, _parameters(of), choices, name, which, arrays, gate_is_first)

        call, backward = build("", signature, ""), build(".backward", shape, "grad")
        note = {"first": first, "second": second}
        _dress(backward, f"{name}.backward", shape, pass_doc("gate", name, grad_ulp, names=note), grad_ulp)
        return _register(
            call, definition, "gate", ulp, source, backward=backward, arrays=arrays, act=act, gate_is_first=gate_is_first,
            variants=variants or {},
        )  # fmt: skip

    return decorate


def slope_op(
    *, ulp: float, grad_ulp: float, source: str, number: str, plain: str, domain: tuple[float, float]
) -> Callable[[Definition], Any]:
    """An elementwise op with a number that may be learned, its second argument; `plain` is the kernel for a number that is not."""

    def decorate(definition: Definition) -> Any:
        name = definition.__name__
        signature = inspect.signature(definition)
        fallback = signature.parameters[number].default
        shape = _signature(f"(dy, x, {number}={fallback!r}, *, out=None)")

        def build(suffix: str, of: inspect.Signature) -> Any:
            return core._make_slope(name + suffix, _parameters(of), name, plain, number, fallback)

        call, backward = build("", signature), build(".backward", shape)
        _dress(
            backward, f"{name}.backward", shape, pass_doc("slope", name, grad_ulp, names={"number": number}), grad_ulp
        )
        return _register(call, definition, "slope", ulp, source, domain=domain, backward=backward, number=number)

    return decorate


def rows_op(
    *,
    ulp: float,
    grad_ulp: float,
    source: str,
    domain: tuple[float, float],
    limits: Mapping[str, str] | None = None,
    none: Mapping[str, float] | None = None,
) -> Callable[[Definition], Any]:
    """An op on each row along an axis, whose backward pass needs its output. `limits` and `none` as for _scalars."""

    def decorate(definition: Definition) -> Any:
        name = definition.__name__
        signature = inspect.signature(definition)
        axis = signature.parameters["axis"].default

        def build(suffix: str, shape: inspect.Signature, which: str, arrays: list[str]) -> Any:
            return core._make_rows(
                name + suffix, _parameters(shape), name, which, arrays, _scalars(shape, limits, none), axis
            )

        shape = _with(signature, "dy, y", "*, out=None")
        backward = build(".backward", shape, "grad", ["dy", "y"])
        _dress(backward, f"{name}.backward", shape, pass_doc("rows", name, grad_ulp), grad_ulp)
        call = build("", signature, "", ["x"])
        return _register(call, definition, "rows", ulp, source, domain=domain, backward=backward)

    return decorate


def row_value_op(
    *, ulp: float, grad_ulp: float, source: str, domain: tuple[float, float]
) -> Callable[[Definition], Any]:
    """A number for each row along an axis; its backward pass needs the input."""

    def decorate(definition: Definition) -> Any:
        name = definition.__name__
        signature = inspect.signature(definition)
        shape = _with(signature, "dy, x", "*, out=None")
        call = core._make_row_value(name, _parameters(signature), name)
        backward = core._make_row_value_backward(f"{name}.backward", _parameters(shape), name)
        _dress(backward, f"{name}.backward", shape, pass_doc("row_value", name, grad_ulp), grad_ulp)
        return _register(call, definition, "row_value", ulp, source, domain=domain, backward=backward)

    return decorate


def random_op(*, ulp: float, source: str) -> Callable[[Definition], Any]:
    """An elementwise op that draws one random word per element; its gradient is the same function of dy."""

    def decorate(definition: Definition) -> Any:
        name = definition.__name__
        signature = inspect.signature(definition)
        shape = _signature("(dy, p=0.5, training=True, *, seed, offset=0, out=None)")
        call = core._make_random(name, _parameters(signature), name, "x")
        backward = core._make_random(f"{name}.backward", _parameters(shape), name, "dy")
        _dress(backward, f"{name}.backward", shape, pass_doc("random", name, ulp), ulp)
        return _register(call, definition, "random", ulp, source, domain=(-100.0, 100.0), backward=backward)

    return decorate


def _loss(
    definition: Definition,
    build: Callable[[str, inspect.Signature, str], Any],
    ulp: float,
    grad_ulp: float,
    source: str,
    **facts: Any,
) -> Any:
    """The three calls of a loss: value, value and gradient in one pass, gradient alone. build(suffix, signature, pass) makes one."""
    name = definition.__name__
    signature = inspect.signature(definition)
    arrays = ", ".join(p.name for p in signature.parameters.values() if p.default is p.empty)
    both = _with(signature, arrays, "*, out=None")
    back = _with(signature, f"dy, {arrays}", "*, out=None")
    call = build("", signature, "value")
    value_and_grad = build(".value_and_grad", both, "value_and_grad")
    backward = build(".backward", back, "backward")
    _dress(value_and_grad, f"{name}.value_and_grad", both, pass_doc("value_and_grad", name, grad_ulp), grad_ulp)
    _dress(backward, f"{name}.backward", back, pass_doc("loss", name, grad_ulp), grad_ulp)
    facts = {"domain": {}, **facts}
    return _register(
        call, definition, "loss", ulp, source, backward=backward, value_and_grad=value_and_grad, **facts
    )  # fmt: skip


def loss_op(
    *,
    ulp: float,
    grad_ulp: float,
    source: str,
    grads: tuple[str, ...] = ("input",),
    domain: Mapping[str, tuple[float, float] | set[float]] | None = None,
    variants: Variants | None = None,
    limits: Mapping[str, str] | None = None,
    none: Mapping[str, float] | None = None,
    reductions: tuple[str, ...] = ("mean", "sum", "none"),
    probabilities: str = "",
) -> Callable[[Definition], Any]:
    """An elementwise loss. Its positional parameters are arrays, of one shape.

    `grads` names the arrays that have a gradient (a tuple of several, in this order); `domain` what tests draw for an array, an interval or
    a set of values. A keyword that has a domain is an array too: it may be None, and broadcasts to the first one.
    `variants`, `limits` and `none` as for map_op and _scalars; `probabilities` names an array that is refused outside [0, 1].
    """

    def decorate(definition: Definition) -> Any:
        name = definition.__name__
        signature = inspect.signature(definition)
        parameters = signature.parameters
        arrays = [(p.name, False) for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
        arrays += [(p.name, True) for p in parameters.values() if p.kind is p.KEYWORD_ONLY and p.name in (domain or {})]
        default = parameters["reduction"].default
        allowed = [default, *(r for r in reductions if r != default)]
        over_weight = "denominator" not in parameters or parameters["denominator"].default == "weight"

        def build(suffix: str, shape: inspect.Signature, which: str) -> Any:
            return core._make_elementwise_loss(
                name + suffix, _parameters(shape), name, which, arrays, list(grads),
                _scalars(shape, limits, none, variants),
                _choices(signature, variants), allowed, over_weight,
                probabilities,
            )  # fmt: skip

        return _loss(
            definition, build, ulp, grad_ulp, source, domain=domain or {}, grads=grads, variants=variants or {},
            none=none or {}, reductions=tuple(allowed),
        )  # fmt: skip

    return decorate


def row_loss_op(
    *,
    ulp: float,
    grad_ulp: float,
    source: str,
    label: str = "",
    soft: bool = False,
    per_row: str = "",
    grads: tuple[str, ...] = (),
    first_axis: int = 0,
    domain: Mapping[str, tuple[float, float]] | None = None,
    variants: Variants | None = None,
    where: Mapping[str, str] | None = None,
    limits: Mapping[str, str] | None = None,
    none: Mapping[str, float] | None = None,
) -> Callable[[Definition], Any]:
    """A loss over rows. Its parameters without default are arrays, of one shape but for `label` and `per_row`.

    `label` holds class ids, or where `soft` may be a distribution for each row: then ".soft" is added to the kernel's name. `per_row` has
    one number for each row. `grads` are the arrays that have a gradient, the first if not given. A row is made of the signature's `axis`,
    or of its `axes`: by default all from `first_axis` on. `where` names hyper-parameters that add to the kernel's name if they are not 0;
    `domain`, `variants`, `limits` and `none` as for loss_op.
    """

    def decorate(definition: Definition) -> Any:
        name = definition.__name__
        signature = inspect.signature(definition)
        parameters = signature.parameters
        arrays = [p.name for p in parameters.values() if p.default is p.empty]
        form = {
            "label": label,
            "soft": soft,
            "per_row": per_row,
            "grads": list(grads or arrays[:1]),
            "first_axis": parameters["axis"].default if "axis" in parameters else first_axis,
            "over_weight": "denominator" not in parameters or parameters["denominator"].default == "weight",
            "where": dict(where or {}),
        }

        def build(suffix: str, shape: inspect.Signature, which: str) -> Any:
            return core._make_row_loss(
                name + suffix, _parameters(shape), name, which, arrays, _scalars(shape, limits, none, variants),
                _choices(signature, variants), form,
            )  # fmt: skip

        return _loss(
            definition, build, ulp, grad_ulp, source, arrays=tuple(arrays), label=label, soft=soft, per_row=per_row,
            domain=domain or {}, grads=tuple(grads or arrays[:1]), variants=variants or {}, limits=limits or {},
            first_axis=first_axis,
        )  # fmt: skip

    return decorate


def composed_loss(
    *, ulp: float, grad_ulp: float, source: str, value: Definition, value_and_grad: Definition, backward: Definition
) -> Callable[[Definition], Any]:
    """A loss put together from others, in Python. It stands beside the registry, which holds its parts."""

    def decorate(definition: Definition) -> Any:
        name = definition.__name__

        def call(*args: Any, **kwargs: Any) -> Any:
            return value(*args, **kwargs)

        doc = f"{inspect.cleandoc(definition.__doc__ or '')}\n\nSource: {source}."
        _dress(call, name, inspect.signature(definition), doc, ulp)
        both: Any = call  # mypy: a function with the attributes of an op
        both.source = source
        both.reference = _quiet(definition)
        for pass_name, function in (("value_and_grad", value_and_grad), ("backward", backward)):
            shape, text = inspect.signature(function), inspect.cleandoc(function.__doc__ or "")
            setattr(both, pass_name, _dress(function, f"{name}.{pass_name}", shape, text, grad_ulp))
        return both

    return decorate


def plain_op(*, make: str, ulp: float, source: str) -> Callable[[Definition], Any]:
    """A compiled call that has no gradient. It stands beside the registry, whose rows are differentiable."""

    def decorate(definition: Definition) -> Any:
        signature = inspect.signature(definition)
        call = getattr(core, make)(definition.__name__, _parameters(signature))
        doc = f"{inspect.cleandoc(definition.__doc__ or '')}\n\nSource: {source}."
        _dress(call, definition.__name__, signature, doc, ulp)
        call.source = source
        call.reference = _quiet(definition)
        return call

    return decorate


_NORM_LIMITS = {"eps": ">= 0", "momentum": "in [0, 1]"}


def row_norm_op(*, ulp: float, grad_ulp: float, source: str, has_mean: bool) -> Callable[[Definition], Any]:
    """A normalization over the last dimensions; with a mean it has a bias."""

    def decorate(definition: Definition) -> Any:
        name = definition.__name__
        signature = inspect.signature(definition)
        hyper = [p for p in signature.parameters.values() if type(p.default) is float]
        call = core._make_row_norm(
            name, _parameters(signature), name, _scalars_of(hyper, _NORM_LIMITS), False, has_mean
        )
        values = ", ".join(f"{p.name}={p.default!r}" for p in hyper if p.kind is not p.KEYWORD_ONLY)
        named = "".join(f"{p.name}={p.default!r}, " for p in hyper if p.kind is p.KEYWORD_ONLY)
        shape = _signature(
            f"(dy, x, weight=None, {values}, *, {named}normalized_shape=None, stats=None, dh=None, out=None)"
        )
        backward = core._make_row_norm(
            f"{name}.backward", _parameters(shape), name, _scalars_of(hyper, _NORM_LIMITS), True, has_mean
        )
        _dress(backward, f"{name}.backward", shape, pass_doc("norm", name, grad_ulp), grad_ulp)
        return _register(call, definition, "norm", ulp, source, backward=backward, channels=False)

    return decorate


def channel_norm_op(*, ulp: float, grad_ulp: float, source: str, over: str) -> Callable[[Definition], Any]:
    """A normalization of channels: over the "batch", "groups" of channels or each "instance"."""

    def decorate(definition: Definition) -> Any:
        name = definition.__name__
        signature = inspect.signature(definition)
        parameters = signature.parameters
        hyper = [parameters[n] for n in ("eps", "momentum") if n in parameters]
        call = core._make_channel_norm(name, _parameters(signature), over, _scalars_of(hyper, _NORM_LIMITS), False)
        kept = [p for p in parameters.values() if p.name not in {"x", "momentum", "return_stats", "out"}]
        before = ["dy", "x", *(p.name for p in kept if p.default is p.empty)]
        before += [f"{p.name}={p.default!r}" for p in kept if p.default is not p.empty and p.kind is not p.KEYWORD_ONLY]
        named = [f"{p.name}={p.default!r}" for p in kept if p.kind is p.KEYWORD_ONLY]
        shape = _signature("(" + ", ".join([*before, "*", *named, "stats=None", "out=None"]) + ")")
        backward = core._make_channel_norm(
            f"{name}.backward", _parameters(shape), over, _scalars_of([parameters["eps"]], _NORM_LIMITS), True
        )
        _dress(backward, f"{name}.backward", shape, pass_doc("norm", name, grad_ulp), grad_ulp)
        return _register(call, definition, "norm", ulp, source, backward=backward, channels=True)

    return decorate


def bias_act_op(*, ulp: float, grad_ulp: float, source: str) -> Callable[[Definition], Any]:
    """Bias, activation, dropout and residual connection in one pass."""

    def decorate(definition: Definition) -> Any:
        name = definition.__name__
        signature = inspect.signature(definition)
        variants = {"activation": {a: f".{a}" for a in ("none", "relu", "gelu", "gelu_tanh", "silu")}}
        choices = _choices(signature, variants)
        call = core._make_bias_act(name, _parameters(signature), choices, False)
        shape = _signature("(dy, x, bias=None, activation='gelu', p=0.0, *, seed=None, offset=0, out=None)")
        backward = core._make_bias_act(f"{name}.backward", _parameters(shape), choices, True)
        _dress(backward, f"{name}.backward", shape, pass_doc("fused", name, grad_ulp), grad_ulp)
        return _register(call, definition, "fused", ulp, source, backward=backward, variants=variants)

    return decorate


def build_info() -> dict[str, Any]:
    """What was built and what runs here: version, compiler, targets, threads, CUDA. Meant for bug reports."""

    return {
        "version": core.__version__,
        "compiler": core.compiler,
        "flags": core.flags,
        "targets_built": core.built_targets(),
        "targets": core.supported_targets(),
        "target": core.target(),
        "threads": core.num_threads(),
        "stream_bytes": core.stream_threshold(),
        "cuda": cuda_status(),
    }


def cuda_status() -> dict[str, Any]:
    """Is CUDA built in, is it usable here, and if not, why?"""
    try:
        from . import _cuda
    except ImportError:
        reason = (
            "built without CUDA. Reinstall with a CUDA compiler: "
            "DLKERNELS_CUDA=ON DLKERNELS_CUDA_WHEELS=13 pip install --force-reinstall ."
        )
        return {"built": False, "usable": False, "reason": reason, "archs": []}
    status = _cuda.status()
    usable = status["code"] == 0
    return {"built": True, "usable": usable, "reason": "" if usable else status["message"], "archs": list(_cuda.archs)}


@functools.cache
def require_cuda() -> None:
    """Loads the CUDA target, or says why it cannot be."""
    status = cuda_status()
    if not status["usable"]:
        raise RuntimeError(f"dlkernels: a GPU array was passed, but CUDA is not usable here: {status['reason']}")
    from . import _cuda

    core.register_cuda_target(_cuda.target())
