"""The command line: `medkern train | predict | evaluate | info | bench`.

Each command is a module with `add_arguments(parser)` and `run(arguments)`, which returns what `--json`
prints. It is imported only when it is called for.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

import medkern
from medkern.io import DataError

_COMMANDS = {
    "train": "train a U-Net on the demo's brain or on your own images",
    "predict": "label images with a trained model",
    "evaluate": "compare a trained model with masks",
    "info": "show version, instruction sets, threads and memory, or the layers of a model",
    "bench": "measure the kernels",
}
_BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the words after `medkern`; None takes those of the process.

    Returns:
        The exit code: 0, 2 for bad input (one line on standard error says what), 130 if interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["bench"]:
        bench = importlib.import_module("medkern.bench.__main__")
        return bench.main(words[1:]) or 0
    parser = argparse.ArgumentParser(prog="medkern", description="Neural networks for medical images.")
    parser.add_argument("--version", action="version", version=f"medkern {medkern.__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    called = next((word for word in words if word in _COMMANDS), None)
    for name, summary in _COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name == called:
            command = importlib.import_module(f"medkern.cli.{name}")
            subparser.add_argument("--json", action="store_true", help="print the result as JSON")
            command.add_arguments(subparser)
    options = parser.parse_args(words)
    try:
        result = command.run(options)
    except KeyboardInterrupt:
        print(f"medkern {options.command}: interrupted", file=sys.stderr)
        return 130
    except (
        DataError,
        FloatingPointError,
        MemoryError,
        ModuleNotFoundError,
        OSError,
        medkern.DeviceError,
    ) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"medkern {options.command}: error: {message}", file=sys.stderr)
        return _BAD_INPUT
    if options.json:
        print(json.dumps(result, indent=2))
    return 0
