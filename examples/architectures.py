"""The known architectures, with torchvision's names for their weights; see docs/examples/architectures.md.

    python examples/architectures.py                     # all of them, with random weights
    python examples/architectures.py resnet18 --weights resnet18.safetensors --image picture.png

The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import medkern
from medkern import functional, models
from medkern.autograd import no_grad
from medkern.data import demo
from medkern.io.files import DataError
from medkern.io.image import read_image
from medkern.io.weights import load_weights, save_weights
from medkern.nn import Module

NETWORKS: dict[str, Callable[[], Module]] = {
    "alexnet": models.AlexNet,
    "vgg11": lambda: models.VGG(11),
    "vgg16": lambda: models.VGG(16),
    "resnet18": lambda: models.ResNet(18),
    "resnet34": lambda: models.ResNet(34),
    "resnet50": lambda: models.ResNet(50),
    "segnet": lambda: models.SegNet(3, 3),
    "unet": lambda: models.UNet(3, 3, activation=None),
    "attention_unet": lambda: models.UNet(3, 3, activation=None, attention=True),
}
# Of the images that torchvision's weights were trained with, for values from 0 to 1.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CALLS = 5


def load_images(path: Path | None, size: int) -> np.ndarray:
    """A picture, or two slices of the ICBM template: (N, 3, size, size), normalized for each channel."""
    if path is None:
        x = demo.load().test.intensity[[0, -1], None]
    else:
        x = read_image(path)[None]
        x = x / max(x.max(), 1.0)
    x = medkern.kernels.interpolate(np.ascontiguousarray(x), size=(size, size), mode="bilinear")
    x = np.repeat(x, 3 // x.shape[1], axis=1)
    mean, deviation = (np.array(values, np.float32)[:, None, None] for values in (MEAN, DEVIATION))
    return (x - mean) / deviation


def examine(name: str, weights: Path | None, images: np.ndarray) -> dict[str, Any]:
    """What a network is made of, what it takes, and whether its ways to a result agree."""
    medkern.random.manual_seed(0)
    net = NETWORKS[name]().eval()
    if weights is None:
        with tempfile.TemporaryDirectory() as folder:  # written and read again, as weights from elsewhere
            weights = Path(folder) / f"{name}.safetensors"
            save_weights(net, weights)
            medkern.random.manual_seed(1)
            net = NETWORKS[name]().eval()
            load_weights(net, weights)
    else:
        load_weights(net, weights)
    with no_grad():
        plain = net(medkern.tensor(images)).numpy()
    predict = medkern.compile(net, images[:1])
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        predict(images[:1])
        seconds.append(time.perf_counter() - start)
    compiled = predict(images).numpy()
    summary = net.summary((1, *images.shape[1:]))
    result = {
        "network": name,
        "parameters": summary.parameters,
        "gflop": round(summary.flops / 1e9, 2),
        "milliseconds": round(1e3 * float(np.median(seconds)), 1),
        "difference": float(np.linalg.norm(compiled - plain) / np.linalg.norm(plain)),
    }
    if plain.ndim == 2:
        shares = functional.softmax(medkern.tensor(compiled), 1).numpy()
        best = np.argsort(-shares, axis=1)[:, :5]
        result["best"] = [
            [(int(c), round(float(row[c]), 4)) for c in order]
            for row, order in zip(shares, best, strict=True)
        ]
    return result


def main() -> None:
    """Builds, loads, predicts and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"{', '.join(NETWORKS)} (all)")
    parser.add_argument(
        "--weights", type=Path, help="a .safetensors with torchvision's names (random weights)"
    )
    parser.add_argument("--image", type=Path, help="a PNG or TIFF (default: slices of the ICBM template)")
    parser.add_argument("--size", type=int, default=224, help="edge of the images; default: %(default)s")
    options = parser.parse_args()
    names = options.networks or list(NETWORKS)
    for name in names:
        if name not in NETWORKS:
            parser.error(f"NETWORK must be one of {', '.join(NETWORKS)}, got {name}")
    if options.weights is not None and len(names) != 1:
        parser.error("--weights are those of one NETWORK")

    start = time.perf_counter()
    try:
        images = load_images(options.image, options.size)
        results = []
        for name in names:
            results.append(examine(name, options.weights, images))
            print(
                "{network}: {parameters:,} parameters, {gflop} GFLOP, {milliseconds} ms".format(**results[-1])
            )
    except DataError as error:
        raise SystemExit(f"architectures: {error}") from error
    result = {
        "networks": results,
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time(), 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
