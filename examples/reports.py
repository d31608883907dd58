"""Reports about lesions: an image encoder and an LSTM that writes; see docs/examples/reports.md.

    python examples/reports.py                                # in English
    python examples/reports.py --language zh                  # in Chinese
    python examples/reports.py --text-only                    # the next word: Embedding, LSTM, Dense
    python examples/reports.py --vectors glove.6B.128d.txt    # starts from word vectors

The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

import medkern
from medkern import losses, metrics, models, optim, plot
from medkern.callbacks import BestWeights, Callback
from medkern.data import demo, normalize
from medkern.data.lesions import Scan, interleaved, simulate
from medkern.data.reports import describe, facts_in, facts_of
from medkern.data.sequences import PartsLoader
from medkern.data.text import PAD, UNKNOWN, Vocabulary, teacher_forcing
from medkern.inference import beam_search, greedy_search
from medkern.io.vectors import read_word_vectors

FIELD = (192, 192)  # mm that an image shows
SIZE = 64  # pixels of it
REFERENCES = 5  # wordings that a report is compared with
LONGEST = 48
# Sizes that can be told apart: between the ranges a lesion has no clear size.
RADIUS = ((4.0, 5.0), (8.0, 9.5), (13.0, 15.0))


class ScheduledSampling(Callback):
    """After teacher forcing alone, has the model read more and more of its own words in training.

    Args:
        epochs: of the whole training; the share grows along a line from 0, after the first third, to `most`.
        most: the share in the last epoch.
    """

    def __init__(self, epochs: int, most: float):
        self.epochs = epochs
        self.most = most

    def on_epoch_end(self, trainer: medkern.Trainer, record: dict[str, Any]) -> None:
        """Sets the share for the next epoch."""
        done = record["epoch"] / max(1, self.epochs - 1)
        trainer.model.sampling = self.most * min(1.0, max(0.0, (done - 1 / 3) * 1.5))


def images_of(scans: list[Scan]) -> np.ndarray:
    """Normalized images (N, 1, 64, 64)."""
    images = np.stack([normalize(scan.image[None]) for scan in scans])
    return medkern.kernels.interpolate(images, size=(SIZE, SIZE), mode="bilinear")


def written(scans: list[Scan], language: str, seed: int, each: int = 1) -> list[list[str]]:
    """`each` wordings of the report of every scan."""
    return [
        [describe(scan.lesions, np.random.default_rng((seed, i, j)), language) for j in range(each)]
        for i, scan in enumerate(scans)
    ]


def right_facts(texts: list[str], scans: list[Scan], language: str) -> dict[str, float]:
    """How many reports have all facts right, and the count, and the sides and sizes where the count is."""
    pairs = [
        (facts_in(text, language), facts_of(scan.lesions)) for text, scan in zip(texts, scans, strict=True)
    ]
    counted = [(found, truth) for found, truth in pairs if found is not None and found.count == truth.count]
    lesions = [(a, b) for found, truth in counted for a, b in zip(found.lesions, truth.lesions, strict=True)]
    return {
        "all": float(np.mean([found == truth for found, truth in pairs])),
        "count": len(counted) / len(pairs),
        "size": float(np.mean([a[0] == b[0] for a, b in lesions])) if lesions else math.nan,
        "side": float(np.mean([a[1] == b[1] for a, b in lesions])) if lesions else math.nan,
    }


def compared(texts: list[str], references: list[list[str]], language: str) -> dict[str, float]:
    """BLEU-1 to BLEU-4 and ROUGE-L."""
    found = metrics.bleu(texts, references, language)
    return {**found, "rouge_l": metrics.rouge_l(texts, references, language)}


def main() -> None:
    """Trains, writes, draws and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/reports"), help="default: %(default)s")
    parser.add_argument("--language", choices=("en", "zh"), default="en", help="default: %(default)s")
    parser.add_argument("--cell", choices=("lstm", "gru"), default="lstm", help="default: %(default)s")
    parser.add_argument("--text-only", action="store_true", help="a model of the text alone")
    parser.add_argument(
        "--vectors", type=Path, help="word vectors of 128 numbers, as word2vec or GloVe write"
    )
    parser.add_argument("--scans", type=int, default=6000, help="for training (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=16, help="default: %(default)s")
    parser.add_argument(
        "--sampling", type=float, default=0.25, help="of own words at last (default: %(default)s)"
    )
    parser.add_argument("--beam", type=int, default=4, help="width of the search (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()

    start = time.perf_counter()
    options.output.mkdir(parents=True, exist_ok=True)
    medkern.random.manual_seed(options.seed)
    counts = (options.scans, max(8, options.scans // 20), max(8, options.scans // 10))
    parts = [
        simulate(
            demo.slices(numbers, shape=FIELD),
            count,
            3 * options.seed + i,
            lesions=(0, 1, 2),
            radius=RADIUS,
            contrast=(0.7, 1.2),
            dark=0.0,
            bias=0.1,
        )
        for i, (numbers, count) in enumerate(zip(interleaved(), counts, strict=True))
    ]
    texts = [[wordings[0] for wordings in written(part, options.language, i)] for i, part in enumerate(parts)]
    vocabulary = Vocabulary.build(texts[0], options.language)
    vocabulary.save(options.output / "vocabulary.json")
    words = [teacher_forcing([vocabulary.encode(text) for text in part]) for part in texts]
    if options.text_only:
        # With room for a vocabulary of 10000, as for real reports; there are fewer words here.
        model: Any = models.TextModel(10000, 128, 128, cell=options.cell)
        loaders = [
            PartsLoader((inputs,), targets, 32, shuffle=i == 0, seed=options.seed)
            for i, (inputs, targets) in enumerate(words)
        ]
    else:
        images = [images_of(part) for part in parts]
        model = models.ReportModel(
            SIZE, len(vocabulary), filters=(24, 48, 64, 64), cell=options.cell, dropout=0.2
        )
        loaders = [
            PartsLoader((x, inputs), targets, 32, shuffle=i == 0, seed=options.seed)
            for i, (x, (inputs, targets)) in enumerate(zip(images, words, strict=True))
        ]
    if options.vectors is not None:
        vectors = read_word_vectors(options.vectors, vocabulary.words)
        model.load_vectors([vocabulary.number(word) for word in vectors], list(vectors.values()))
        print(f"{len(vectors)} of {len(vocabulary)} words have a vector")
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    trainer = medkern.Trainer(
        model,
        losses.CrossEntropyLoss(ignore_index=PAD),
        optimizer,
        schedule=optim.CosineAnnealingLR(optimizer, options.epochs * len(loaders[0])),
        max_grad_norm=1.0,
    )
    sampling = [] if options.text_only else [ScheduledSampling(options.epochs, options.sampling)]
    trainer.fit(
        loaders[0],
        loaders[1],
        epochs=options.epochs,
        callbacks=[BestWeights("val_loss"), *sampling],
        progress=lambda record: print(
            f"epoch {record['epoch']}: loss {record['loss']:.4f}, validation {record['val_loss']:.4f}",
            flush=True,
        ),
    )
    result: dict[str, Any] = {
        "language": options.language,
        "words": len(vocabulary),
        "samples": dict(zip(("train", "validation", "test"), counts, strict=True)),
    }
    references = written(parts[2], options.language, 1000, REFERENCES)
    if options.text_only:
        loss = trainer.evaluate(loaders[2])["loss"]
        best = beam_search(model, 1, width=8, longest=LONGEST)[0]
        reports = [
            vocabulary.decode(number if number < len(vocabulary) else UNKNOWN for number in numbers)
            for _, numbers in best
        ]
        result |= {"loss": loss, "perplexity": math.exp(loss), "likeliest": reports}
        result |= compared(
            reports,
            [[text for wordings in references for text in wordings][:500]] * len(reports),
            options.language,
        )
    else:
        by_search = {
            "greedy": greedy_search(model, images[2], longest=LONGEST),
            "beam": [
                found[0][1] for found in beam_search(model, images[2], width=options.beam, longest=LONGEST)
            ],
        }
        for name, found in by_search.items():
            reports = [vocabulary.decode(numbers) for numbers in found]
            facts = right_facts(reports, parts[2], options.language)
            result[name] = {"facts": facts, **compared(reports, references, options.language)}
        if options.language == "en":  # matplotlib's own font has no Chinese characters
            plot.image_rows(
                [images[2][i : i + 4, 0] for i in (0, 4)],
                ["", ""],
                options.output / "reports.png",
                titles=[reports[i : i + 4] for i in (0, 4)],
            )
        lines = [f"{text}\t{report}\n" for (text, *_), report in zip(references, reports, strict=True)]
        (options.output / "reports.txt").write_text("".join(lines), encoding="utf-8")
    result["seconds"] = round(time.perf_counter() - start, 1)
    result["processor_seconds"] = round(time.process_time(), 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
