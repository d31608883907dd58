"""`medkern info`."""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

import medkern
from medkern import _C
from medkern.cli.values import integer
from medkern.io import DataError
from medkern.io.weights import load_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model to summarize as well."""
    parser.add_argument("--model", type=Path, help="summarize this run folder or .safetensors file instead")
    parser.add_argument(
        "--shape",
        type=integer(1, 2**20),
        nargs="+",
        help="of what the model is given, batch first, such as 1 1 256 256",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Tells what medkern found on this machine, or what a model is made of."""
    if options.model is not None or options.shape is not None:
        return _summary(options)
    pages = {name: os.sysconf(name) for name in ("SC_PHYS_PAGES", "SC_PAGE_SIZE")}
    result: dict[str, Any] = {
        "version": medkern.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "instruction_sets": {
            "built": list(_C.isa_names(supported_only=False)),
            "usable": list(_C.isa_names()),
            "chosen": _C.isa_active(),
        },
        "threads": medkern.get_num_threads(),
        "processors": os.cpu_count(),
        "memory_bytes": pages["SC_PHYS_PAGES"] * pages["SC_PAGE_SIZE"],
    }
    result["cuda"] = _cuda()
    if not options.json:
        sets = result["instruction_sets"]
        print(f"medkern           {result['version']}")
        print(f"python, numpy     {result['python']}, {result['numpy']}")
        print(f"machine           {result['machine']}")
        print(f"instruction sets  built: {', '.join(sets['built'])}")
        print(f"                  usable here: {', '.join(sets['usable'])}")
        print(f"                  chosen: {sets['chosen']} (MEDKERN_ISA chooses another)")
        print(f"threads           {result['threads']} (MEDKERN_NUM_THREADS chooses another number)")
        print(f"processors        {result['processors']}")
        print(f"memory            {result['memory_bytes'] / 2**30:.1f} GiB")
        for line in _lines(result["cuda"]):
            print(line)
    return result


def _summary(options: argparse.Namespace) -> dict[str, Any]:
    """The layers of a model."""
    if options.model is None or options.shape is None:
        raise DataError("--model and --shape go together")
    model, _ = load_model(options.model)
    try:
        summary = model.summary(tuple(options.shape))
    except (ValueError, TypeError) as error:
        raise DataError(f"--shape: {' '.join(str(error).split())}") from error
    if not options.json:
        print(summary)
    return summary.as_dict()


def _cuda() -> dict[str, Any]:
    """The CUDA devices, or the reason why there are none."""
    try:
        count = medkern.cuda.device_count()
    except medkern.DeviceError as error:
        return {"devices": [], "reason": str(error)}
    return {"devices": [medkern.cuda.get_device_properties(f"cuda:{i}") for i in range(count)]}


def _lines(cuda: dict[str, Any]) -> list[str]:
    if not cuda["devices"]:
        return [f"cuda              none: {cuda['reason']}"]
    return [
        f"cuda:{i}            {device['name']}, {device['memory_bytes'] / 2**30:.1f} GiB, "
        f"{device['multiprocessors']} multiprocessors, compute capability "
        + ".".join(map(str, device["compute_capability"]))
        for i, device in enumerate(cuda["devices"])
    ]
