"""Healthy or not: convolutional classifiers of brain slices; see docs/examples/lesions.md.

    python examples/lesions.py                         # 32 and 64 filters, Dense(128) on 128x128x3
    python examples/lesions.py --deep                  # 32, 64, 128, Dense(512) on 150x150x3, from files
    python examples/lesions.py --deep --data FOLDER    # the same on train/, validation/ and test/ of a folder

The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

import medkern
from medkern import explain, losses, metrics, models, nn, optim, plot
from medkern.callbacks import BestWeights
from medkern.data import ArrayDataset, Augment, DataLoader, Dataset, ImageFolder, demo
from medkern.data.lesions import Scan, interleaved, simulate
from medkern.io.files import DataError
from medkern.io.image import write_mask

FIELD = (192, 192)  # mm that an image shows
CLASSES = ["healthy", "lesion"]
PARTS = ("train", "validation", "test")
WHITE = 1.5  # the intensity that becomes 255; white matter is at 0.86


def simulated(counts: list[int], seed: int) -> list[list[Scan]]:
    """Scans for training, validation and test, of different slices; half of them have a bright lesion."""
    return [
        simulate(
            demo.slices(numbers, shape=FIELD),
            count,
            3 * seed + i,
            radius=(6.0, 14.0),
            contrast=(0.5, 1.2),
            dark=0.0,
            bias=0.1,
        )
        for i, (numbers, count) in enumerate(zip(interleaved(), counts, strict=True))
    ]


def pixels(scan: Scan, size: int) -> np.ndarray:
    """A scan as a picture of bytes (size, size)."""
    small = medkern.kernels.interpolate(scan.image[None, None], size=(size, size), mode="bilinear")[0, 0]
    return np.clip(np.rint(small * (255 / WHITE)), 0, 255).astype(np.uint8)


def dataset(scans: list[Scan], size: int) -> ArrayDataset:
    """Images from 0 to 1 with three equal channels, as color images have them, and their classes."""
    images = np.stack([pixels(scan, size) for scan in scans])[:, None] / np.float32(255)
    return ArrayDataset(
        np.repeat(images, 3, axis=1), np.array([len(scan.lesions) > 0 for scan in scans], np.int64)
    )


def write_folders(scans: list[Scan], folder: Path, size: int) -> None:
    """One PNG file per scan, in a folder per class."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i, scan in enumerate(scans):
        write_mask(
            folder / CLASSES[len(scan.lesions) > 0] / f"slice{scan.number:03d}-{i:05d}.png",
            pixels(scan, size),
        )


def main() -> None:
    """Trains, tests, draws and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/lesions"), help="default: %(default)s")
    parser.add_argument("--deep", action="store_true", help="the deeper network, on files")
    parser.add_argument("--data", type=Path, help="with --deep: a folder of one's own (default: simulated)")
    parser.add_argument("--scans", type=int, default=3000, help="for training (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()
    if options.data is not None and not options.deep:
        parser.error("--data needs --deep")

    start = time.perf_counter()
    options.output.mkdir(parents=True, exist_ok=True)
    medkern.random.manual_seed(options.seed)
    counts = [options.scans, max(8, options.scans // 10), max(8, options.scans // 6)]
    parts: list[Dataset]
    classes = CLASSES
    if options.deep:
        size, folder = 150, options.data
        if folder is None:
            folder = options.output / "data"
            for name, scans in zip(PARTS, simulated(counts, options.seed), strict=True):
                write_folders(scans, folder / name, size)
        folders = [ImageFolder(folder / name, size, channels=3, scale=1 / 255) for name in PARTS]
        classes = folders[0].classes
        for name, part in zip(PARTS, folders, strict=True):
            if part.classes != classes:
                raise DataError(f"{folder / name}: its classes are {part.classes}, those of train {classes}")
        parts, counts = list(folders), [len(part) for part in folders]
        model = models.CNN(
            size, 3, len(classes), filters=(32, 64, 128), hidden=(512,), dropout=0.3, norm="batch"
        )
        augment = Augment(flip=(1,), shear=6, zoom=0.1)
    else:
        size = 128
        parts = [dataset(scans, size) for scans in simulated(counts, options.seed)]
        model = models.CNN(size, 3, 2, filters=(32, 64), hidden=(128,), dropout=0.2, norm="batch")
        augment = Augment(flip=(1,), shift=4)
    loader = DataLoader(parts[0], 32, shuffle=True, seed=options.seed, augment=augment, workers=1)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    trainer = medkern.Trainer(
        model,
        losses.CrossEntropyLoss(),
        optimizer,
        metrics=metrics.ClassificationMetrics(classes),
        schedule=optim.CosineAnnealingLR(optimizer, options.epochs * len(loader)),
    )
    trainer.fit(
        loader,
        DataLoader(parts[1], 64),
        epochs=options.epochs,
        callbacks=[BestWeights("val_loss")],
        progress=lambda record: print(
            f"epoch {record['epoch']}: loss {record['loss']:.4f}, accuracy {record['val_accuracy']:.4f}, "
            f"{record['seconds']:.0f} s",
            flush=True,
        ),
    )
    tested = metrics.ClassificationMetrics(classes)
    shown, titles, sick = [], [], []
    for x, y in DataLoader(parts[2], 64):
        output = trainer.predict(x, 64)
        tested.update(output, y)
        for image, truth, found in zip(x, y, output.argmax(axis=1), strict=True):
            if truth == len(classes) - 1 and len(sick) < 4:
                sick.append((image, truth))
            if len(shown) < 16:
                shown.append(image[0])
                titles.append(f"{classes[truth]}, found {classes[found]}")
    plot.confusion(tested.confusion, classes, options.output / "confusion.png")
    curve = metrics.calibration_curve(tested.probabilities, tested.target)
    plot.reliability(*curve, options.output / "reliability.png")
    plot.image_rows(
        [shown[i : i + 4] for i in range(0, len(shown), 4)],
        [""] * -(-len(shown) // 4),
        options.output / "test.png",
        titles=[titles[i : i + 4] for i in range(0, len(titles), 4)],
        limits=(0, 1),
    )
    x, y = (np.stack(part) for part in zip(*sick, strict=True))
    layer = [module for module in model.features.modules() if isinstance(module, nn.MaxPool2d)][-1]
    tissue = float(np.median(x[x >= x.mean()]))  # a black patch would be one more thing to see
    maps = {
        "Grad-CAM": explain.grad_cam(model, x, layer, y),
        "SmoothGrad": explain.smooth_grad(model, x, y),
        "occlusion": explain.occlusion(model, x, y, patch=size // 8, fill=tissue),
    }
    plot.heatmaps(x[:, 0], list(zip(*maps.values(), strict=True)), list(maps), options.output / "maps.png")
    report = tested.report()
    result = {
        **tested.compute(),
        **{name: report[classes[-1]][name] for name in ("precision", "recall", "specificity")},
        **{name: report["all"][name] for name in ("calibration_error", "brier_score")},
        "confusion": tested.confusion.tolist(),
        "samples": dict(zip(PARTS, counts, strict=True)),
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time(), 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
