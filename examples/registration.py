"""Registration of brain images deformed by known fields, in 2-D or 3-D; see docs/examples/registration.md.

    python examples/registration.py
    python examples/registration.py --dims 3

The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

import medkern
from medkern import functional, losses, metrics, models, optim
from medkern.data import DataLoader, demo, prepare
from medkern.data.transforms import fit, smooth_field
from medkern.extras import optional_import

AMPLITUDE = {2: 6.0, 3: 4.0}  # the largest displacement along an axis, in elements
ORDER = {2: 3, 3: 2}  # most half waves of the displacements: none folds
GAIN, NOISE = 0.1, 0.02  # of the second scan, in shares of the largest intensity
SHAPE = {2: (96, 80), 3: (40, 48, 40)}  # 2 mm and 4 mm apart


def warp(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    """An image (H, W) or (D, H, W) read at o + field[o]."""
    with medkern.no_grad():
        moved = functional.warp(medkern.tensor(image[None, None]), medkern.tensor(field[None]))
    return moved.numpy()[0, 0]


def make_field(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Smooth displacements (axes, spatial) of random size, float32."""
    parts = [
        AMPLITUDE[len(shape)] * rng.uniform(0.4, 1) * smooth_field(shape, rng, ORDER[len(shape)])
        for _ in shape
    ]
    return np.stack(parts).astype(np.float32)


def make_pair(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The image deformed and scanned again beside the image as it is, (2, spatial), and the field."""
    field = make_field(image.shape, rng)
    moving = warp(image, field) * (1 + GAIN * smooth_field(image.shape, rng))
    moving = np.hypot(moving + rng.normal(0, NOISE, image.shape), rng.normal(0, NOISE, image.shape))
    return np.stack([moving, image]).astype(np.float32), field


def deform(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """For the loader: from an image (1, spatial) to a new pair and the image to be reached."""
    return make_pair(x[0], rng)[0], x


def load_slices() -> tuple[np.ndarray, np.ndarray]:
    """Axial slices of the template, 2 mm apart, for training and for the test; at least 6 mm between them."""
    slices = demo.load()

    def small(part: demo.Slices) -> np.ndarray:
        halves = prepare.resize(part.clean, [n // 2 for n in part.clean.shape[1:]])
        return np.stack([fit(x, SHAPE[2], fill=0) for x in halves])

    return small(slices.train), small(slices.test)


def load_volume() -> np.ndarray:
    """The template, 4 mm apart."""
    datasets = optional_import("nilearn.datasets", "demo")
    volume = np.asarray(datasets.load_mni152_template(resolution=2).dataobj, np.float32)
    volume = prepare.resize(volume, [n // 2 for n in volume.shape])
    return fit(volume.clip(0), SHAPE[3], fill=0)


def target_errors(field: np.ndarray, found: np.ndarray, image: np.ndarray) -> tuple[float, float]:
    """How far anatomical points are from where they belong, in elements, before and after; means.

    Point o of the moving image lies at q = o + field[o] of the fixed one, where the network has to find the
    displacement o - q. Points outside of the head, or that leave the image, don't count.
    """
    axes = np.indices(image.shape).astype(np.float32)
    q = axes + field
    inside = warp(image, field) > 0.1
    for axis, size in enumerate(image.shape):
        inside &= (q[axis] >= 0) & (q[axis] <= size - 1)
    there = np.stack([warp(u, field) for u in found])
    after = np.sqrt(((q + there - axes) ** 2).sum(0))
    before = np.sqrt((field**2).sum(0))
    return float(before[inside].mean()), float(after[inside].mean())


def draw(path: Path, pair: np.ndarray, output: np.ndarray) -> None:
    """The pair, the result, both differences and the grid of the field; the middle slice of volumes."""
    figure = optional_import("matplotlib.figure", "plot").Figure(figsize=(12, 8), layout="constrained")
    moving, fixed, warped, field = pair[0], pair[1], output[0], output[1:]
    grid = np.zeros(fixed.shape, np.float32)
    for axis in range(fixed.ndim - 2, fixed.ndim):
        line = [slice(None)] * fixed.ndim
        line[axis] = slice(0, None, 6)
        grid[tuple(line)] = 1
    bent = warp(grid, field)
    middle = len(fixed) // 2
    shown = {
        "moving": moving,
        "fixed": fixed,
        "moving, warped": warped,
        "difference before": moving - fixed,
        "difference after": warped - fixed,
        "displacements": bent,
    }
    for axes, (name, image) in zip(figure.subplots(2, 3).flat, shown.items(), strict=True):
        part = image[middle].T[::-1] if image.ndim == 3 else image  # head up
        limits = (-0.5, 0.5) if name.startswith("difference") else (0, 1)
        axes.imshow(part, cmap="gray", vmin=limits[0], vmax=limits[1])
        axes.set(title=name, xticks=[], yticks=[])
    figure.savefig(path, dpi=100)


def main() -> None:
    """Trains, registers the test pairs and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("registration"), help="default: %(default)s"
    )
    parser.add_argument("--dims", type=int, choices=(2, 3), default=2, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, help="default: 40, in 3-D 75")
    parser.add_argument("--pairs", type=int, default=20, help="test pairs, default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()

    start, cpu = time.perf_counter(), time.process_time()
    medkern.random.manual_seed(options.seed)
    if options.dims == 2:
        images, tests = load_slices()
        epochs, batch, filters = options.epochs or 40, 4, (16, 32, 32, 32)
    else:
        images = tests = load_volume()[None]
        images = np.repeat(images, 48, axis=0)  # as many new deformations per epoch
        epochs, batch, filters = options.epochs or 75, 1, (16, 32, 32)
    data = [(image[None], np.int64(0)) for image in images]
    loader = DataLoader(data, batch, shuffle=True, seed=options.seed, augment=deform, workers=1)
    model = models.Registration(spatial_dims=options.dims, filters=filters, half=options.dims == 3)
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    trainer = medkern.Trainer(
        model,
        losses.RegistrationLoss(weight=1.0, window=9 if options.dims == 2 else 7),
        optimizer,
        schedule=optim.CosineAnnealingLR(optimizer, epochs * len(loader)),
    )
    trainer.fit(
        loader,
        epochs=epochs,
        progress=lambda record: print(f"epoch {record['epoch']}: loss {record['loss']:.4f}"),
    )

    options.output.mkdir(parents=True, exist_ok=True)
    errors, folds, likeness = [], [], []
    for number in range(options.pairs):
        rng = np.random.default_rng((options.seed + 1, 1, number))  # no field of the training
        pair, field = make_pair(tests[number % len(tests)], rng)
        output = trainer.predict(pair[None])[0]
        errors.append(target_errors(field, output[1:], pair[1]))
        folds.append(metrics.count_folds(output[1:]))
        moved, fixed = (medkern.tensor(x[None, None]) for x in (pair[0], pair[1]))
        warped = medkern.tensor(output[None, :1])
        likeness.append([1 - losses.ncc_loss(x, fixed).item() for x in (moved, warped)])
        if number < 2:
            draw(options.output / f"pair{number}.png", pair, output)
    before, after = np.mean(errors, axis=0)
    spacing = 2 * (options.dims - 1)
    result = {
        "target_error_before_mm": round(spacing * float(before), 3),
        "target_error_after_mm": round(spacing * float(after), 3),
        "ratio": round(float(after / before), 4),
        "worst_ratio": round(max(b / a for a, b in errors), 4),
        "correlation_before": round(float(np.mean(likeness, axis=0)[0]), 4),
        "correlation_after": round(float(np.mean(likeness, axis=0)[1]), 4),
        "folds": int(np.sum(folds)),
        "elements": int(np.prod(SHAPE[options.dims])) * options.pairs,
        "pairs": options.pairs,
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - cpu, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
