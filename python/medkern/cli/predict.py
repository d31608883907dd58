"""`medkern predict MODEL INPUT -o OUT`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from medkern.cli.values import add_device, add_precision
from medkern.data.folder import is_volume, list_images, split_name
from medkern.io import DataError
from medkern.segmentation import Segmenter, check_destination


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the images, and where the masks go."""
    parser.add_argument("model", type=Path, help="a run folder, or a model's .safetensors file")
    parser.add_argument("input", type=Path, help="a PNG, TIFF or NIfTI file, or a folder of such files")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the mask to write; a folder if the input is one"
    )
    add_device(parser)
    add_precision(parser)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Writes a mask for every image."""
    jobs = _jobs(options.input, options.output)
    segmenter = Segmenter.load(options.model).to(options.device, options.precision)
    files = []
    for source, destination in jobs:
        destination.parent.mkdir(parents=True, exist_ok=True)
        found = segmenter.predict_file(source, destination)
        shares = {
            name: float(np.mean(found == label))
            for name, label in zip(segmenter.classes, segmenter.labels, strict=True)
        }
        files.append({"input": str(source), "output": str(destination), "shares": shares})
        if not options.json:
            text = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
            print(f"{destination}: {text}")
    return {"files": files}


def _jobs(source: Path, output: Path) -> list[tuple[Path, Path]]:
    """(image, mask) of every file to label."""
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if not source.is_dir():
        into_folder = output.is_dir() or not output.suffix
        jobs = [(source, _name_in(output, source) if into_folder else output)]
    elif output.is_file():
        raise DataError(f"{output}: must be a folder, since {source} is one")
    else:
        jobs = [(path, _name_in(output, path)) for path in list_images(source).values()]
    for image, mask in jobs:
        check_destination(image, mask)
    return jobs


def _name_in(folder: Path, source: Path) -> Path:
    name, suffix = split_name(source)
    return folder / (name + (".nii.gz" if is_volume(source) else suffix))
