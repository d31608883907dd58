"""`medkern evaluate MODEL --data DIR`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from medkern import metrics
from medkern.cli.values import add_device, add_precision
from medkern.data.folder import Case, find_pairs, read_case
from medkern.segmentation import Segmenter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model and the data."""
    parser.add_argument("model", type=Path, help="a run folder, or a model's .safetensors file")
    parser.add_argument("--data", type=Path, required=True, help="a folder with images/ and masks/")
    add_device(parser)
    add_precision(parser)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Compares the model's labels with the masks."""
    segmenter = Segmenter.load(options.model).to(options.device, options.precision)
    pairs = find_pairs(options.data)
    cases = (read_case(pair, segmenter.labels, segmenter.channels) for pair in pairs)
    result = evaluate_cases(segmenter, cases)
    if not options.json:
        print_table(result["classes"])
        print(f"accuracy {result['accuracy']:.4f} over {len(result['files'])} files")
    return result


def evaluate_cases(segmenter: Segmenter, cases: Iterable[Case]) -> dict[str, Any]:
    """Measures over all cases together, per class, and the Dice of each case."""
    count = len(segmenter.classes)
    total = np.zeros((count, count), np.int64)
    files = {}
    for case in cases:
        confusion = metrics.confusion_matrix(segmenter.predict(case.x), case.y, count)
        files[case.name] = _named(segmenter.classes, metrics.dice(confusion))
        total += confusion
    measures = {f.__name__: f(total) for f in (metrics.dice, metrics.iou, metrics.precision, metrics.recall)}
    return {
        "classes": {
            name: {measure: float(values[i]) for measure, values in measures.items()}
            for i, name in enumerate(segmenter.classes)
        },
        "accuracy": metrics.accuracy(total),
        "files": files,
    }


def _named(names: Iterable[str], values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def print_table(classes: dict[str, dict[str, float]]) -> None:
    """Prints a row per class and a column per measure."""
    measures = list(next(iter(classes.values())))
    width = max(len(name) for name in classes) + 2
    print(" " * width + "".join(f"{measure:>11}" for measure in measures))
    for name, values in classes.items():
        print(f"{name:<{width}}" + "".join(f"{values[measure]:11.4f}" for measure in measures))
