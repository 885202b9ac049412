"""``dlkernels train``: a classifier on real images, from the arrays to a report.

One tenth of the training images is held out to watch and to choose the best checkpoint; the test images are
looked at once, at the end. Everything lands under --out: model.safetensors (the weights), last and best
.safetensors (the whole state, for --resume), history.csv and history.png.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dlkernels as dk
from dlkernels import data, nn, schedules, train
from dlkernels.atomic import replacing
from dlkernels.report import versions

ACTIVATIONS: dict[str, Callable[[], nn.Layer]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
}
# Chosen by trial on the validation images, over five seeds.
DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {
        "epochs": 40, "batch_size": 32, "lr": 3e-3, "hidden": (512,), "activation": "gelu", "dropout": 0.5,
        "label_smoothing": 0.1,
    },
    "fashion-mnist": {
        "epochs": 15, "batch_size": 128, "lr": 2e-3, "hidden": (256,), "activation": "gelu", "dropout": 0.2,
        "label_smoothing": 0.1,
    },
}  # fmt: skip


def build_model(
    features: int, classes: int, hidden: Sequence[int], *, activation: str, dropout: float, seed: int
) -> nn.Sequential:
    """Linear, activation and dropout for every hidden size, and a Linear on top."""
    layers: list[nn.Layer] = []
    for size in hidden:
        layers += [nn.Linear(features, size), ACTIVATIONS[activation]()]
        layers += [nn.Dropout(dropout)] if dropout else []
        features = size
    return nn.Sequential(*layers, nn.Linear(features, classes), seed=seed)


@contextlib.contextmanager
def using_threads(count: int | None) -> Iterator[int]:
    """Give `count` threads to dlkernels and to the BLAS under NumPy for the block; yields the number in
    use.
    """
    if count is None:
        yield dk.get_num_threads()
        return
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise ModuleNotFoundError(
            '--threads needs threadpoolctl to limit the BLAS under NumPy. Install it: pip install "dlkernels[train]".'
        ) from None
    before = dk.get_num_threads()
    dk.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield count
    finally:
        dk.set_num_threads(before)


def weights_hash(model: nn.Layer) -> str:
    """SHA-256 of all parameters: equal for two runs that agree bit for bit."""
    digest = hashlib.sha256()
    for array in model.params():
        digest.update(array.tobytes())
    return digest.hexdigest()


def run_train(args: argparse.Namespace) -> int:
    """Train, test, write and print; 0, 1 if training broke down, 130 if it was interrupted."""
    if importlib.util.find_spec("matplotlib") is None:  # now, not when the training is done
        raise ModuleNotFoundError(
            'train: matplotlib draws the history and is not installed. Install it: pip install "dlkernels[train]".'
        )
    given = {name: getattr(args, name) for name in DEFAULTS[args.dataset]}
    settings = {
        **DEFAULTS[args.dataset],
        **{name: value for name, value in given.items() if value is not None},
    }
    dataset = data.digits() if args.dataset == "digits" else data.fashion_mnist(args.data_dir)
    training, validation = data.train_test_split(*dataset.train, 0.1, seed=(args.seed, 1))
    shape = {name: settings[name] for name in ("activation", "dropout")}
    model = build_model(training[0].shape[1], len(dataset.classes), settings["hidden"], **shape, seed=args.seed)
    sizes = ", ".join(
        f"{len(part[0]):,} {name}"
        for name, part in (("training", training), ("validation", validation), ("test", dataset.test))
    )
    print(f"{dataset.name}: {sizes} images\n{model.summary()}", file=sys.stderr)
    with using_threads(args.threads) as threads:
        started = time.perf_counter()
        history = _fit(model, training, validation, settings, args)
        seconds = time.perf_counter() - started
        scores = train.evaluate(model, dataset.test)
    trained = sum(history["seconds"]) if len(history) else math.inf
    result = {
        "dataset": dataset.name,
        "test_accuracy": scores["accuracy"],
        "test_loss": scores["loss"],
        "seconds": seconds,
        "examples_per_second": len(training[0]) * len(history) / trained,
        "target": dk.get_target(),
        "threads": threads,
        "seed": args.seed,
        "epochs": len(history),
        "stopped": history.stopped,
        "weights_sha256": weights_hash(model),
        "settings": settings,
        "versions": {"dlkernels": dk.__version__, **versions()},
    }
    model.save(Path(args.out) / "model.safetensors")
    if args.json:
        with replacing(args.json) as file:
            file.write((json.dumps(result, indent=2) + "\n").encode())
    print(
        f"test accuracy {scores['accuracy']:.4f}  loss {scores['loss']:.4f}  {seconds:.1f} s  "
        f"{result['examples_per_second']:,.0f} examples/s  target {result['target']}  threads {threads}\n"
        f"weights sha256 {weights_hash(model)[:16]}  written to {args.out}/"
    )
    if len(history):
        history.plot(Path(args.out) / "history.png")
    if history.stopped is not None:
        print(f"stopped after {len(history)} epochs: {history.stopped}", file=sys.stderr)
        return 130 if history.stopped == "interrupted" else 1
    return 0


def _fit(
    model: nn.Layer,
    training: train.Pair,
    validation: train.Pair,
    settings: dict[str, Any],
    args: argparse.Namespace,
) -> train.History:
    """The history, also of a training that Ctrl-C ended."""
    out = Path(args.out)
    steps = settings["epochs"] * -(-len(training[0]) // settings["batch_size"])
    try:
        return train.fit(
            model,
            training,
            loss=partial(dk.cross_entropy, label_smoothing=settings["label_smoothing"]),
            lr=schedules.warmup_cosine(settings["lr"], steps, warmup=round(0.2 * steps)),
            epochs=settings["epochs"],
            batch_size=settings["batch_size"],
            validation_data=validation,
            callbacks=[train.Checkpoint(out), train.CSVLogger(out / "history.csv"), train.TerminateOnNaN()],
            seed=args.seed,
            resume=out if args.resume else None,
            verbose=not args.quiet,
        )
    except train.TrainingInterrupted as stop:
        return stop.history
