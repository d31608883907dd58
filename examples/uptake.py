"""What a lesion is by its uptake of contrast agent, from frames by a GRU; see docs/examples/uptake.md.

    python examples/uptake.py --output runs/uptake

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
from medkern.data import demo, lesions
from medkern.data.sequences import PartsLoader, pad_sequences
from medkern.data.uptake import CURVES, Uptake, simulate_uptake


def arrays(sequences: list[Uptake]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames (N, T, 1, 64, 64), lengths (N) and classes (N)."""
    frames, lengths = pad_sequences([sequence.frames for sequence in sequences])
    return frames, lengths, np.array([sequence.curve for sequence in sequences], np.int64)


def main() -> None:
    """Trains, tests, draws and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/uptake"), help="default: %(default)s")
    parser.add_argument("--cell", choices=("gru", "lstm"), default="gru", help="default: %(default)s")
    parser.add_argument("--sequences", type=int, default=900, help="for training (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()

    start = time.perf_counter()
    options.output.mkdir(parents=True, exist_ok=True)
    medkern.random.manual_seed(options.seed)
    parts = [demo.slices(numbers) for numbers in lesions.interleaved()]
    counts = (options.sequences, max(3, options.sequences // 6), max(3, options.sequences // 3))
    simulated = [
        simulate_uptake(part, count, 3 * options.seed + i)
        for i, (part, count) in enumerate(zip(parts, counts, strict=True))
    ]
    train, validation, test = ((frames, lengths, y) for frames, lengths, y in map(arrays, simulated))
    model = models.SequenceClassifier(classes=len(CURVES), cell=options.cell)
    loader = PartsLoader(train[:2], train[2], 16, shuffle=True, seed=options.seed, lengths=1)
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    trainer = medkern.Trainer(
        model,
        losses.CrossEntropyLoss(),
        optimizer,
        metrics=metrics.ClassificationMetrics(CURVES),
        schedule=optim.CosineAnnealingLR(optimizer, options.epochs * len(loader)),
        max_grad_norm=1.0,
    )
    trainer.fit(
        loader,
        PartsLoader(validation[:2], validation[2], 32, lengths=1),
        epochs=options.epochs,
        callbacks=[BestWeights("val_loss")],
        progress=lambda record: print(
            f"epoch {record['epoch']}: loss {record['loss']:.4f}, accuracy {record['val_accuracy']:.4f}"
        ),
    )
    tested = metrics.ClassificationMetrics(CURVES)
    tested.update(trainer.predict(test[:2], 32), test[2])
    report = tested.report()
    plot.confusion(tested.confusion, CURVES, options.output / "confusion.png")
    shown = [next(s for s in simulated[2] if s.curve == i) for i in range(len(CURVES))]
    plot.image_rows(
        [
            [frame[0] for frame in sequence.frames[:: max(1, len(sequence.frames) // 8)]][:8]
            for sequence in shown
        ],
        [CURVES[sequence.curve] for sequence in shown],
        options.output / "sequences.png",
        limits=(-0.3, 0.9),
    )
    result = {
        "accuracy": report["all"]["accuracy"],
        "recall": float(np.mean([report[name]["recall"] for name in CURVES])),
        "f1": float(np.mean([report[name]["f1"] for name in CURVES])),
        "per_class": {name: report[name] for name in CURVES},
        "confusion": tested.confusion.tolist(),
        "samples": dict(zip(("train", "validation", "test"), counts, strict=True)),
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time(), 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
