"""Removes the artifacts of sparse-view CT and of undersampled MRI; see docs/examples/reconstruction.md.

    python examples/reconstruction.py              # both
    python examples/reconstruction.py --only ct

The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import medkern
from medkern import losses, metrics, models, optim, plot
from medkern.callbacks import BestWeights
from medkern.data import ArrayDataset, DataLoader, demo
from medkern.data.acquisition import column_mask, filtered_back_projection, radon, with_columns, zero_filled

SHOWN = 3  # slices in the picture
RANGE = 1.0  # the template's values lie from 0 to 1


def mirror(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both images mirrored along each axis half of the time."""
    for axis in (1, 2):
        if rng.random() < 0.5:
            x, y = np.flip(x, axis), np.flip(y, axis)
    return np.ascontiguousarray(x), np.ascontiguousarray(y)


class CT:
    """Few projections, and what filtered back-projection makes of them."""

    def __init__(self, views: int):
        self.angles = np.arange(views) * 180 / views

    def __call__(self, images: np.ndarray, numbers: tuple[int, ...], seed: int) -> np.ndarray:
        """Images (N, H, W) with streaks; nothing is drawn at random."""
        return filtered_back_projection(radon(images, self.angles), self.angles, images.shape[1:])

    def augment(
        self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A mirrored slice has mirrored streaks, since the angles lie symmetrically."""
        return mirror(x, y, rng)

    def finish(
        self, found: np.ndarray, images: np.ndarray, numbers: tuple[int, ...], seed: int
    ) -> np.ndarray:
        """What the network has found, as it is."""
        return np.clip(found, 0, None)


class MRI:
    """A part of the columns of k-space, the others 0; each slice has a mask of its own."""

    def __init__(self, acceleration: float):
        self.acceleration = acceleration

    def __call__(self, images: np.ndarray, numbers: tuple[int, ...], seed: int) -> np.ndarray:
        """Images (N, H, W) with the ghosts and the blur of what is missing."""
        masks = self._masks(images, numbers, seed)
        return np.stack([zero_filled(*pair) for pair in zip(images, masks, strict=True)])

    def augment(
        self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A mirrored slice measured anew, with another mask."""
        _, y = mirror(x, y, rng)
        return zero_filled(y, column_mask(y.shape[2], rng, self.acceleration)), y

    def finish(
        self, found: np.ndarray, images: np.ndarray, numbers: tuple[int, ...], seed: int
    ) -> np.ndarray:
        """What the network has found, with the columns that were measured put back."""
        masks = self._masks(images, numbers, seed)
        joined = np.stack([with_columns(*three) for three in zip(found, images, masks, strict=True)])
        return np.clip(joined, 0, None)

    def _masks(self, images: np.ndarray, numbers: tuple[int, ...], seed: int) -> list[np.ndarray]:
        width = images.shape[2]
        return [column_mask(width, np.random.default_rng((seed, n)), self.acceleration) for n in numbers]


def scores(images: np.ndarray, truths: np.ndarray) -> dict[str, float]:
    """Means over slices."""
    pairs = list(zip(images, truths, strict=True))
    return {
        "psnr": float(np.mean([metrics.psnr(image, truth, RANGE) for image, truth in pairs])),
        "ssim": float(np.mean([metrics.ssim(image, truth, RANGE) for image, truth in pairs])),
    }


def reconstruct(name: str, acquire: CT | MRI, data: demo.Demo, options: argparse.Namespace) -> dict[str, Any]:
    """Trains a U-Net on one kind of artifact and tests it on slices it has not seen."""
    start = time.perf_counter()
    medkern.random.manual_seed(options.seed)
    parts = {}
    for part in ("train", "validation", "test"):
        slices = getattr(data, part)
        step = options.every if part == "train" else 1
        truth, numbers = slices.clean[::step], slices.numbers[::step]
        parts[part] = ArrayDataset(acquire(truth, numbers, options.seed)[:, None], truth[:, None])
    filters = [options.filters * 2**level for level in range(4)]
    model = models.UNet(1, 1, filters=filters, activation=None, residual=True)
    loader = DataLoader(parts["train"], 4, shuffle=True, seed=options.seed, augment=acquire.augment)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    trainer = medkern.Trainer(
        model,
        losses.MSELoss(),
        optimizer,
        schedule=optim.CosineAnnealingLR(optimizer, options.epochs * len(loader)),
        max_grad_norm=1.0,
    )
    trainer.fit(
        loader,
        DataLoader(parts["validation"], 4),
        epochs=options.epochs,
        callbacks=[BestWeights("val_loss")],
        progress=lambda record: print(
            f"{name}, epoch {record['epoch']}: PSNR {-10 * np.log10(record['val_loss']):.2f} dB", flush=True
        ),
    )
    x, truth = parts["test"].x[:, 0], parts["test"].y[:, 0]
    found = trainer.predict(parts["test"].x, 4)[:, 0]
    found = acquire.finish(found, truth, data.test.numbers, options.seed)
    shown = np.linspace(0, len(x) - 1, SHOWN).round().astype(int)
    rows = [image for i in shown for image in (truth[i], x[i], found[i], 4 * np.abs(found[i] - truth[i]))]
    before = "filtered back-projection" if name == "ct" else "zero-filled"
    plot.grid(
        rows,
        options.output / f"{name}.png",
        columns=4,
        low=0,
        high=RANGE,
        titles=("truth", before, "U-Net", "4 |error|"),
    )
    old, new = scores(x, truth), scores(found, truth)
    return {
        **new,
        "before": old,
        "psnr_gain": new["psnr"] - old["psnr"],
        "ssim_gain": new["ssim"] - old["ssim"],
        "slices": {part: len(dataset) for part, dataset in parts.items()},
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> None:
    """Trains, tests and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("runs/reconstruction"), help="default: %(default)s"
    )
    parser.add_argument("--only", choices=("ct", "mri"), help="one of the two (default: both)")
    parser.add_argument("--views", type=int, default=40, help="projections of CT (default: %(default)s)")
    parser.add_argument(
        "--acceleration",
        type=float,
        default=3.0,
        help="columns per measured one of MRI (default: %(default)s)",
    )
    parser.add_argument("--epochs", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--filters", type=int, default=16, help="of the first level (default: %(default)s)")
    parser.add_argument(
        "--every", type=int, default=1, help="train on every so many slices (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()

    start = time.perf_counter()
    options.output.mkdir(parents=True, exist_ok=True)
    data = demo.load(options.seed)
    scanners = {"ct": CT(options.views), "mri": MRI(options.acceleration)}
    result: dict[str, Any] = {
        name: reconstruct(name, acquire, data, options)
        for name, acquire in scanners.items()
        if options.only in (None, name)
    }
    result["seconds"] = round(time.perf_counter() - start, 1)
    result["processor_seconds"] = round(time.process_time(), 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
