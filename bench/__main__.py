"""`medkern bench`: times kernels and networks against the machine's peak and other libraries."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import medkern
from medkern import _C

from . import harness, machine, process, report
from .case import Case
from .cases import FAMILIES, KINDS
from .libraries import OWN, PEERS
from .peak import Peak

_NOTES = (
    "Every case is checked against float64 before it is timed. Libraries run in processes of their own, with",
    "the same number of threads, and take turns in rounds; the others sleep meanwhile. ms is the median of",
    "one call, spread the distance of the quartiles over the median, x a peer's median over medkern's, best",
    "the smallest x.",
    "",
    "Layouts: medkern reads and gives channels-last arrays, as its layers do; torch is PyTorch with",
    "contiguous tensors, torch-cl with channels-last ones (weights too); ort and openvino get ONNX models",
    "with constant weights and contiguous inputs and outputs, bound once.",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "families",
        nargs="*",
        metavar="FAMILY",
        help=f"which cases (all): {', '.join(KINDS)}, or a family: {', '.join(FAMILIES)}",
    )
    parser.add_argument(
        "--case",
        action="append",
        metavar="PATTERN",
        help="only cases of such names; * and ? stand for others",
    )
    parser.add_argument(
        "--peers",
        nargs="?",
        const="all",
        metavar="LIST",
        help=f"compare with these libraries, separated by commas (all): {', '.join(PEERS)}",
    )
    parser.add_argument("--threads", type=int, help="number of threads")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write a page of tables there")
    parser.add_argument("--list", action="store_true", help="name the cases and leave")


def chosen(families: Sequence[str], patterns: Sequence[str] | None) -> list[Case]:
    """The cases of these families or kinds whose names match one of the patterns.

    Raises:
        ValueError: a family is unknown, or there is no such case.
    """
    for name in families:
        if name not in KINDS and name not in FAMILIES:
            raise ValueError(f"unknown family {name!r}; there are {', '.join([*KINDS, *FAMILIES])}")
    found = [
        case
        for kind, cases in KINDS.items()
        for case in cases
        if not families or kind in families or case.family in families
        if not patterns or any(fnmatch.fnmatchcase(case.name, pattern) for pattern in patterns)
    ]
    if not found:
        raise ValueError(f"no case is named {' or '.join(patterns or [])}")
    return found


def peers_of(text: str | None) -> list[str]:
    """The libraries that --peers names.

    Raises:
        ValueError: one is unknown.
    """
    names = [] if text is None else list(PEERS) if text == "all" else text.split(",")
    for name in names:
        if name not in PEERS:
            raise ValueError(f"unknown peer {name!r}; there are {', '.join(PEERS)}")
    return names


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; 1 if a result was wrong or a process failed, 2 if an argument was wrong."""
    try:
        wanted = chosen(arguments.families, arguments.case)
        peers = peers_of(arguments.peers)
        if arguments.threads is not None:
            medkern.set_num_threads(arguments.threads)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if arguments.list:
        for case in wanted:
            print(f"{case.family:<24} {case.name}")
        return 0
    threads = medkern.get_num_threads()
    processes: list[process.Process] = []
    try:
        processes = process.start([OWN, *peers], threads)
        made = _measure(wanted, processes, threads)
    except (harness.WrongResultError, process.WorkerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        process.close(processes)
    results = made.pop("_results")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(made, indent=1) + "\n")
    if arguments.markdown is not None:
        arguments.markdown.write_text(report.markdown(made, results, _NOTES) + "\n")
    return 0


def _measure(wanted: Sequence[Case], processes: Sequence[process.Process], threads: int) -> dict[str, Any]:
    """Runs the cases and prints their table as they come."""
    best = Peak(**processes[0].ask("peak"))
    libraries = {p.name: p.version for p in processes}
    print(
        f"medkern {libraries[OWN]}, {_C.isa_active()}, {threads} threads; peak {best.gflops:.0f} GFLOP/s "
        f"float32, copy {best.gbytes:.1f} GB/s"
    )
    results: list[harness.Result] = []

    def timed() -> Iterator[harness.Result]:
        for case in wanted:
            results.append(harness.run(case, processes, best))
            yield results[-1]

    peers = [p.name for p in processes if p.name != OWN]
    for line in report.lines(timed(), peers):
        print(line, flush=True)
    if peers:
        print("\n".join(["", *report.summary_lines(results)]))
    return {
        "machine": machine.description(),
        "isa": _C.isa_active(),
        "environment": {key: value for key, value in os.environ.items() if key.startswith("MEDKERN_")},
        "threads": threads,
        "libraries": libraries,
        "peak": {"gflops": best.gflops, "gbytes": best.gbytes},
        "families": report.summary(results),
        "slower": [r.name for r in report.slower(results)],
        "results": report.as_json(results),
        "_results": results,
    }


def main(argv: list[str] | None = None) -> int:
    """Parses `argv` and runs the command."""
    parser = argparse.ArgumentParser(prog="medkern bench", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
