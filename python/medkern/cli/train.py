"""`medkern train --demo` and `medkern train --data DIR`."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import medkern
from medkern import _C, losses, metrics, models, optim, plot, random
from medkern.callbacks import BestWeights
from medkern.cli.evaluate import evaluate_cases, print_table
from medkern.cli.values import add_device, add_precision, integer, number
from medkern.data import Augment, DataLoader, Dataset, demo
from medkern.data.folder import Case, SliceDataset, find_labels, find_pairs, read_cases
from medkern.data.loader import Augmentation
from medkern.extras import optional_import
from medkern.io import DataError
from medkern.io.files import write_text
from medkern.segmentation import Segmenter
from medkern.trainer import Trainer

_POOLINGS = 4
# Two see enough of the noise around a pixel; with more the network learns the training slabs by heart.
_DEMO_POOLINGS = 2
_OVERLAYS = 4


@dataclass
class Job:
    """What to train on and what to report on.

    Attributes:
        train: samples to learn from.
        validation: samples that choose the best epoch.
        report: cases for the final figures and overlays.
        reported: what these are, in words.
        classes: a name per class.
        labels: the label per class in masks.
        channels: of the images.
        augment: changes of the training samples.
        poolings: of the U-Net.
        baseline: Dice of the two-threshold rule per class on the reported cases, or nothing.
        validation_baseline: the same on the validation samples.
    """

    train: Dataset
    validation: Dataset
    report: Sequence[Case]
    reported: str
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    channels: int
    augment: Augmentation
    poolings: int
    baseline: dict[str, float]
    validation_baseline: dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the data comes from, the network, the training, and where the result goes."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--demo", action="store_true", help="gray and white matter on a T1 brain template; needs no files"
    )
    source.add_argument("--data", type=Path, help="a folder with images/ and masks/, matched by name")
    parser.add_argument("-o", "--output", type=Path, help="the run folder (default: runs/demo or runs/NAME)")
    parser.add_argument("--epochs", type=integer(1, 100000), default=20, help="default: %(default)s")
    parser.add_argument(
        "--filters", type=integer(1, 1024), default=16, help="of the first level (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=integer(1, 1024), default=4, help="default: %(default)s")
    parser.add_argument("--lr", type=number(0, 10), default=2e-3, help="learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=integer(0, 2**31), default=0, help="default: %(default)s")
    parser.add_argument(
        "--validation",
        type=number(0, 1),
        default=0.2,
        help="with --data: the share of files kept for validation (default: %(default)s)",
    )
    add_device(parser)
    add_precision(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the run in the run folder")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Trains, reports and fills the run folder."""
    start = time.perf_counter()
    optional_import("matplotlib", "plot")  # better missed now than after training
    random.manual_seed(options.seed)
    job = _demo_job(options.seed) if options.demo else _folder_job(options)
    folder = options.output or Path("runs") / ("demo" if options.demo else options.data.resolve().name)
    folder.mkdir(parents=True, exist_ok=True)

    model = models.UNet(
        in_channels=job.channels,
        out_channels=len(job.classes),
        filters=[options.filters * 2**level for level in range(job.poolings + 1)],
        norm="batch",
        activation=None,
    ).to(options.device)
    segmenter = Segmenter(model, job.classes, job.labels, job.channels, multiple=2**job.poolings)
    segmenter.to(options.device, options.precision)
    loader = DataLoader(job.train, options.batch_size, shuffle=True, seed=options.seed, augment=job.augment)
    optimizer = optim.Adam(model.parameters(), lr=options.lr)
    best = BestWeights("val_loss", "min", folder / "model.safetensors", segmenter.metadata())
    trainer = Trainer(
        model,
        losses.DiceCELoss(),
        optimizer,
        metrics=metrics.SegmentationMetrics(job.classes),
        schedule=optim.CosineAnnealingLR(optimizer, options.epochs * len(loader)),
        precision=options.precision,
    )
    trainer.fit(
        loader,
        DataLoader(job.validation, options.batch_size),
        epochs=options.epochs,
        callbacks=[best],
        progress=not options.json,
        checkpoint=folder / "checkpoint.safetensors",
        resume=options.resume,
    )
    result = {
        **evaluate_cases(segmenter, job.report),
        "reported_on": job.reported,
        "two_thresholds_dice": job.baseline or None,
        "best_epoch": best.best_epoch,
        "seconds": round(time.perf_counter() - start, 1),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "medkern": medkern.__version__,
        "instruction_set": _C.isa_active(),
        "threads": medkern.get_num_threads(),
        "settings": {key: str(v) if isinstance(v, Path) else v for key, v in vars(options).items()},
        "history": trainer.history,
    }
    write_text(folder / "metrics.json", json.dumps(result, indent=2) + "\n")
    _draw(segmenter, job, trainer.history, folder)
    if not options.json:
        _print_report(job, result, folder)
    return result


def _demo_job(seed: int) -> Job:
    print("reading the brain template ...", file=sys.stderr)
    data = demo.load(seed)
    thresholds = demo.best_thresholds(data.train.intensity, data.train.labels)

    def by_thresholds(part: demo.Slices) -> dict[str, float]:
        found = demo.apply_thresholds(part.intensity, thresholds)
        dice = metrics.dice(metrics.confusion_matrix(found, part.labels, len(demo.CLASSES)))
        return {name: float(dice[i]) for i, name in enumerate(demo.CLASSES) if i > 0}

    test = data.test.dataset()
    first, last = data.test.numbers[0], data.test.numbers[-1]
    return Job(
        train=data.train.clean_dataset(),
        validation=data.validation.dataset(),
        report=[
            Case(f"slice {number}", x[None], y[None].astype(np.uint8))
            for number, x, y in zip(data.test.numbers, test.x, test.y, strict=True)
        ],
        reported=f"slices {first} to {last}, at least 6 mm from those used for training and validation",
        classes=demo.CLASSES,
        labels=(0, 1, 2),
        channels=1,
        augment=demo.Rescan(),
        poolings=_DEMO_POOLINGS,
        baseline=by_thresholds(data.test),
        validation_baseline=by_thresholds(data.validation),
    )


def _folder_job(options: argparse.Namespace) -> Job:
    pairs = find_pairs(options.data)
    if len(pairs) < 2:
        raise DataError(f"{options.data}: needs at least 2 images, one of them for validation")
    labels = find_labels(pairs)
    cases = read_cases(pairs, labels)
    held = min(max(1, round(options.validation * len(cases))), len(cases) - 1)
    order = np.random.default_rng(options.seed).permutation(len(cases))
    validation = [cases[i] for i in sorted(order[:held])]
    train = SliceDataset([cases[i] for i in sorted(order[held:])], 2**_POOLINGS)
    return Job(
        train=train,
        validation=SliceDataset(validation, 2**_POOLINGS),
        report=validation,
        reported=f"{held} of {len(cases)} files, kept for validation",
        classes=("background", *(f"label {label}" for label in labels[1:])),
        labels=labels,
        channels=cases[0].x.shape[1],
        augment=Augment(shift=8, gain=0.1),
        poolings=_POOLINGS,
        baseline={},
        validation_baseline={},
    )


def _draw(segmenter: Segmenter, job: Job, history: list[dict[str, Any]], folder: Path) -> None:
    baseline = {f"two thresholds, {name}": value for name, value in job.validation_baseline.items()}
    plot.learning_curves(history, folder / "curves.png", baseline)
    chosen = [job.report[i] for i in _spread(len(job.report), _OVERLAYS)]
    middles = [_busiest(case) for case in chosen]
    plot.overlays(
        [case.x[s].mean(axis=0) for case, s in zip(chosen, middles, strict=True)],
        [case.y[s] for case, s in zip(chosen, middles, strict=True)],
        [segmenter.predict(case.x[s : s + 1])[0] for case, s in zip(chosen, middles, strict=True)],
        job.classes,
        folder / "overlays.png",
        [case.name for case in chosen],
    )


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` different positions from 0 to count - 1, evenly spread."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(wanted, count)).round()})


def _busiest(case: Case) -> int:
    """The slice with the most that is not background."""
    return int(np.argmax((case.y > 0).sum(axis=(1, 2))))


def _print_report(job: Job, result: dict[str, Any], folder: Path) -> None:
    print(f"result on {job.reported}:")
    print_table(result["classes"])
    for name, value in job.baseline.items():
        print(f"two thresholds reach a Dice of {value:.4f} for {name}")
    print(
        f"{result['seconds']:.0f} s, {result['peak_memory_bytes'] / 2**20:.0f} MiB, best epoch "
        f"{result['best_epoch']}; model, metrics.json, curves.png and overlays.png are in {folder}"
    )
