"""Brain tissue by U-Net: 256x256 slices with 64 filters, or 64^3 patches in 3-D; see docs/examples/unet.md.

    python examples/unet.py --output runs/unet
    python examples/unet.py --volume --output runs/unet3d

The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

import medkern
from medkern import losses, metrics, models, optim, plot
from medkern.callbacks import BestWeights
from medkern.data import ArrayDataset, Augment, DataLoader, demo, normalize
from medkern.data.lesions import interleaved
from medkern.data.transforms import fit, round_up

SIZE = (256, 256)
PATCH = 64
CLASSES = ["other", "tissue"]  # gray and white matter; fluid and what is outside are other
SPACING = 1.0  # mm between voxels, along every axis
GAP = 8  # mm between the parts of the volume


class MaskMetrics(metrics.SegmentationMetrics):
    """`SegmentationMetrics` for masks (N, 1, ...) of zeros and ones."""

    def update(self, output: np.ndarray, target: np.ndarray) -> None:
        """Adds a batch."""
        super().update(output, target[:, 0].astype(np.int64))


class Rescanned:
    """Augmentation: a new scan of the clean sample, then both changed in step."""

    def __init__(self, change: Augment):
        self.change = change

    def __call__(
        self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The sample, x and y both (1, spatial)."""
        return self.change(normalize(demo.scan(x[0], rng)[None]), y, rng)


class Patches:
    """Random patches of a clean volume.

    Args:
        volume: (D, H, W).
        mask: likewise.
        count: how many make an epoch.
        seed: of their places.
    """

    def __init__(self, volume: np.ndarray, mask: np.ndarray, count: int, seed: int):
        self.volume, self.mask = volume, mask
        rng = np.random.default_rng(seed)
        most = np.array(volume.shape) - PATCH
        self.corners = rng.integers(0, most + 1, (count, 3))

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        place = tuple(slice(corner, corner + PATCH) for corner in self.corners[index])
        return self.volume[place][None], self.mask[place][None]


def slice_parts() -> tuple[ArrayDataset, ArrayDataset, ArrayDataset, list[int]]:
    """Clean slices for training, scanned ones for validation and test, and the test's numbers."""
    train, validation, test = (demo.slices(numbers, shape=SIZE) for numbers in interleaved())
    masks = [(part.labels > 0).astype(np.float32)[:, None] for part in (train, validation, test)]
    return (
        ArrayDataset(train.clean[:, None], masks[0]),
        ArrayDataset(np.stack([normalize(x[None]) for x in validation.intensity[::2]]), masks[1][::2]),
        ArrayDataset(np.stack([normalize(x[None]) for x in test.intensity]), masks[2]),
        list(test.numbers),
    )


def volume_parts(count: int, seed: int) -> tuple[Patches, ArrayDataset, ArrayDataset]:
    """Patches of the back of the brain, and for validation and test 64 mm in front of it, scanned whole.

    The test is its left half, validation its right, with a gap between.
    """
    template, labels = demo.volumes()
    inside = [np.nonzero(labels.any(axis=other))[0] for other in ((1, 2), (0, 2), (0, 1))]
    box = tuple(slice(int(found[0]), int(found[-1]) + 1) for found in inside)
    clean, mask = template[box], (labels[box] > 0).astype(np.float32)
    middle, front = clean.shape[0] // 2, clean.shape[1] - PATCH

    def part(number: int, place: tuple[slice, ...]) -> ArrayDataset:
        scanned = normalize(demo.scan(clean[place], np.random.default_rng((seed, number)))[None])
        shape = [round_up(size, 8) for size in scanned.shape[1:]]
        return ArrayDataset(fit(scanned, shape, fill=0)[None], fit(mask[place], shape, fill=0)[None, None])

    back = slice(0, front - GAP)
    left = (slice(0, middle - GAP // 2), slice(front, None))
    right = (slice(middle + GAP // 2, None), slice(front, None))
    return Patches(clean[:, back], mask[:, back], count, seed), part(0, right), part(1, left)


def main() -> None:
    """Trains, tests, draws and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/unet"), help="default: %(default)s")
    parser.add_argument("--volume", action="store_true", help="in 3-D")
    parser.add_argument("--epochs", type=int, help="default: 8; 12 in 3-D")
    parser.add_argument("--filters", type=int, help="of the first level (default: 64; 8 in 3-D)")
    parser.add_argument("--patches", type=int, default=80, help="per epoch in 3-D (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()

    start = time.perf_counter()
    options.output.mkdir(parents=True, exist_ok=True)
    medkern.random.manual_seed(options.seed)
    if options.volume:
        train, validation, test = volume_parts(options.patches, options.seed)
        names = ["front, left"]
        width, levels, lr, batch, epochs = options.filters or 8, 4, 2e-3, 2, options.epochs or 12
        change = Augment(flip=(0, 1, 2), rotation=15, shift=0.1, shear=5, zoom=0.1, fill="nearest")
    else:
        train, validation, test, numbers = slice_parts()
        names = [f"slice {number}" for number in numbers]
        width, levels, lr, batch, epochs = options.filters or 64, 5, 2e-4, 1, options.epochs or 8
        change = Augment(flip=(1,), rotation=40, shift=0.2, shear=11, zoom=0.2, fill="nearest")
    model = models.UNet(
        filters=[width * 2**level for level in range(levels)], spatial_dims=3 if options.volume else 2
    )
    loader = DataLoader(train, batch, shuffle=True, seed=options.seed, augment=Rescanned(change), workers=1)
    optimizer = optim.Adam(model.parameters(), lr=lr)
    trainer = medkern.Trainer(
        model,
        losses.BCELoss(),
        optimizer,
        metrics=MaskMetrics(CLASSES),
        schedule=optim.CosineAnnealingLR(optimizer, epochs * len(loader)),
    )
    trainer.fit(
        loader,
        DataLoader(validation),
        epochs=epochs,
        callbacks=[BestWeights("val_loss")],
        progress=lambda record: print(
            f"epoch {record['epoch']}: loss {record['loss']:.4f}, Dice {record['val_dice']:.4f}, "
            f"{record['seconds']:.0f} s",
            flush=True,
        ),
    )
    probabilities = trainer.predict(test.x, 1)
    found = metrics.predicted_classes(probabilities)
    truth = test.y[:, 0].astype(np.int64)
    cases = metrics.SegmentationCases(CLASSES)
    for name, prediction, target in zip(names, found, truth, strict=True):
        cases.add(name, prediction, target, spacing=(SPACING,) * target.ndim)
    together = metrics.SegmentationMetrics(CLASSES)
    together.update(probabilities, truth)
    if options.volume:
        middle = [size // 2 for size in truth.shape[2:]]
        views = [
            (test.x[0, 0, :, y].T[::-1], truth[0, :, y].T[::-1], found[0, :, y].T[::-1]) for y in middle[:1]
        ]
        titles = names
    else:
        chosen = list(range(0, len(truth), 4))
        views, titles = [(test.x[i, 0], truth[i], found[i]) for i in chosen], [names[i] for i in chosen]
    images, truths, founds = zip(*views, strict=True)
    plot.overlays(images, truths, founds, CLASSES, options.output / "test.png", titles)
    plot.learning_curves(trainer.history, options.output / "curves.png")
    report = together.report()[CLASSES[1]]
    result = {
        "dice": report["dice"],
        "iou": report["iou"],
        "cases": cases.summary()[CLASSES[1]],
        "samples": {"train": len(train), "validation": len(validation), "test": len(test)},
        "steps": epochs * len(loader),
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time(), 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
