"""A DCGAN that draws 64x64 patches of brain slices; see docs/examples/gan.md.

    python examples/gan.py

The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import medkern
from medkern import functional, losses, metrics, models, optim, plot
from medkern.callbacks import AverageWeights, BestWeights, Callback
from medkern.data import ArrayDataset, DataLoader, demo

SIZE = 64
TOPS, LEFTS = (16, 64, 112), (16, 80)  # of patches, before they are moved: together they cover the head
CLASSES = len(TOPS) * len(LEFTS)
MOVE = 8  # pixels, at most, along each axis
LEAST = 0.3  # share of a patch that is head
LATENT = 64
RATE = 4e-4
JUDGE_EPOCHS = 10
DARK = 0.25  # what is darker is black, so that brain tissue has more of the range
MEASURED = 1024  # patches, at most, real and made
SHOWN = 64  # images per grid


def patches(slices: demo.Slices, per_place: int, seed: int) -> ArrayDataset:
    """Patches (N, 1, 64, 64) from -1 to 1, some at each place of a slice; the place is the class."""
    x, y = [], []
    for number, image in zip(slices.numbers, slices.clean, strict=True):
        rng = np.random.default_rng((seed, number))
        bright = 2 * np.clip((image - DARK) / (1 - DARK), 0, 1) - 1
        for place, (top, left) in enumerate(itertools.product(TOPS, LEFTS)):
            for _ in range(per_place):
                row, column = (start + rng.integers(-MOVE, MOVE + 1) for start in (top, left))
                part = np.s_[row : row + SIZE, column : column + SIZE]
                if (image[part] > DARK).mean() >= LEAST:
                    x.append(bright[part])
                    y.append(place)
    return ArrayDataset(np.stack(x)[:, None].astype(np.float32), np.array(y, np.int64))


def mirror(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Left and right exchanged half of the time, in the patch and in its class."""
    if rng.random() < 0.5:
        x, y = np.ascontiguousarray(x[:, :, ::-1]), y ^ 1
    return x, y


class Judge:
    """A classifier of patches, trained here, whose features and classes the measures compare."""

    def __init__(self, train: ArrayDataset, validation: ArrayDataset, seed: int):
        self.network = models.CNN(SIZE, 1, CLASSES, filters=(16, 32, 32, 64), hidden=(64,), dropout=0.2)
        optimizer = optim.Adam(self.network.parameters(), lr=2e-3)
        loader = DataLoader(train, 32, shuffle=True, seed=seed, augment=mirror)
        trainer = medkern.Trainer(
            self.network,
            losses.CrossEntropyLoss(),
            optimizer,
            schedule=optim.CosineAnnealingLR(optimizer, JUDGE_EPOCHS * len(loader)),
        )
        best = BestWeights("val_loss")
        trainer.fit(loader, DataLoader(validation, 64), epochs=JUDGE_EPOCHS, callbacks=[best], progress=False)
        self.network.eval()

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features (N, 64), those the last layer reads, and probabilities of classes (N, CLASSES)."""
        features, probabilities = [], []
        with medkern.no_grad():
            for start in range(0, len(x), 64):
                seen = self.network.features(medkern.tensor(x[start : start + 64]))
                *body, last = self.network.classifier
                hidden = functional.flatten(seen, 1)
                for layer in body:
                    hidden = layer(hidden)
                features.append(hidden.numpy().copy())
                probabilities.append(functional.softmax(last(hidden), 1).numpy().copy())
        return np.concatenate(features), np.concatenate(probabilities)


class Measure(Callback):
    """Adds the measures of made images to the record of each epoch and draws a grid of them."""

    def __init__(self, judge: Judge, real: np.ndarray, folder: Path):
        self.judge = judge
        self.folder = folder
        self.features, _ = judge(real)

    def on_epoch_end(self, trainer: medkern.Trainer, record: dict[str, Any]) -> None:
        """The same random numbers each time, so that epochs can be compared."""
        assert isinstance(trainer, medkern.GANTrainer)
        made = trainer.sample(len(self.features), seed=1)
        features, probabilities = self.judge(made)
        record["distance"] = metrics.frechet_distance(self.features, features)
        record["kernel_distance"] = metrics.kernel_distance(self.features, features)
        record["inception_score"] = metrics.inception_score(probabilities)
        plot.grid(made[:SHOWN, 0], self.folder / f"epoch_{record['epoch']:02d}.png", low=-1, high=1)


def main() -> None:
    """Trains, measures and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/gan"), help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=30, help="default: %(default)s")
    parser.add_argument(
        "--per-place", type=int, default=5, help="patches per place of a slice (default: %(default)s)"
    )
    parser.add_argument("--filters", type=int, default=24, help="of both networks (default: %(default)s)")
    parser.add_argument(
        "--loss", default="bce", help="bce, least_squares, hinge or wasserstein (default: %(default)s)"
    )
    parser.add_argument(
        "--norm",
        choices=("batch", "instance", "spectral", "none"),
        default="batch",
        help="of the discriminator (default: %(default)s)",
    )
    parser.add_argument(
        "--r1", type=float, default=0.0, help="weight of the R1 penalty (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    options = parser.parse_args()

    start = time.perf_counter()
    medkern.random.manual_seed(options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    data = demo.load(options.seed)
    train = patches(data.train, options.per_place, options.seed)
    validation = patches(data.validation, options.per_place, options.seed)
    held_out = patches(data.test, options.per_place, options.seed)
    judge = Judge(train, validation, options.seed)
    _, probabilities = judge(held_out.x)
    accuracy = float((probabilities.argmax(axis=1) == held_out.y).mean())
    print(f"the classifier knows {accuracy:.3f} of {len(held_out)} patches of other slices")

    generator = models.DCGANGenerator(LATENT, filters=options.filters)
    discriminator = models.DCGANDiscriminator(
        filters=options.filters, norm=None if options.norm == "none" else options.norm
    )
    trainer = medkern.GANTrainer(
        generator,
        discriminator,
        optim.Adam(generator.parameters(), lr=RATE, betas=(0.5, 0.999)),
        optim.Adam(discriminator.parameters(), lr=RATE, betas=(0.5, 0.999)),
        latent=LATENT,
        loss=options.loss,
        r1=options.r1,
    )
    order = np.random.default_rng(options.seed).permutation(len(train))
    count = min(MEASURED, 2 * len(train) // 3)
    real, rest = train.x[order[:count]], train.x[order[count:]]
    plot.grid(real[:SHOWN, 0], options.output / "real.png", low=-1, high=1)
    history = trainer.fit(
        DataLoader(train, 16, shuffle=True, seed=options.seed, drop_last=True),
        epochs=options.epochs,
        callbacks=[AverageWeights(0.995), Measure(judge, real, options.output)],
        progress=lambda record: print(
            f"epoch {record['epoch']}: distance {record['distance']:.2f}, "
            f"kernel distance {record['kernel_distance']:.3f}, score {record['inception_score']:.2f}, "
            f"losses {record['loss']:.2f} and {record['generator_loss']:.2f}",
            flush=True,
        ),
        checkpoint=options.output / "checkpoint.safetensors",
        resume=options.resume,
    )
    (features, probabilities), (others, _) = judge(real), judge(rest)
    result = {
        "first_distance": history[0]["distance"],
        **{name: history[-1][name] for name in ("distance", "kernel_distance", "inception_score")},
        "inception_score_of_real": metrics.inception_score(probabilities),
        "distance_of_real": metrics.frechet_distance(features, others),
        "classifier_accuracy": accuracy,
        "patches": len(train),
        "history": history,
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time(), 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
