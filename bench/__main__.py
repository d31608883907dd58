"""`medkern bench`: times kernels and networks against the machine's peak and other libraries."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import medkern
from medkern import _C

from . import accuracy, harness, machine, memory, plot, process, report, scaling
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
    "contiguous tensors, torch-cl with channels-last ones (weights too); ort and openvino run ONNX models",
    "with constant weights and contiguous inputs and outputs, bound once, openvino-cl with channels-last",
    "inputs and outputs.",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "families",
        nargs="*",
        metavar="FAMILY",
        help=f"which cases: all, {', '.join(KINDS)}, or a family: {', '.join(FAMILIES)}; all without "
        "--accuracy, --memory and --scaling, none with one of them",
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
    parser.add_argument("--accuracy", action="store_true", help="publish the error of each kernel")
    parser.add_argument("--memory", action="store_true", help="measure the peak memory of networks")
    parser.add_argument("--scaling", action="store_true", help="measure time per voxel from small to large")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write a page of tables there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw ratios and time per voxel there")
    parser.add_argument("--list", action="store_true", help="name the cases and leave")


def chosen(families: Sequence[str], patterns: Sequence[str] | None) -> list[Case]:
    """The cases of these families or kinds whose names match one of the patterns.

    Raises:
        ValueError: a family is unknown, or there is no such case.
    """
    for name in families:
        if name not in KINDS and name not in FAMILIES and name != "all":
            raise ValueError(f"unknown family {name!r}; there are all, {', '.join([*KINDS, *FAMILIES])}")
    found = [
        case
        for kind, cases in KINDS.items()
        for case in cases
        if not families or {"all", kind, case.family} & set(families)
        if matches(case, patterns)
    ]
    if not found:
        raise ValueError(f"no case is named {' or '.join(patterns or [])}")
    return found


def matches(case: Case, patterns: Sequence[str] | None) -> bool:
    """Whether a case's name matches one of the patterns; without patterns all do."""
    return not patterns or any(fnmatch.fnmatchcase(case.name, pattern) for pattern in patterns)


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
    other = arguments.accuracy or arguments.memory or arguments.scaling
    try:
        wanted = [] if other and not arguments.families else chosen(arguments.families, arguments.case)
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
    run = Run(medkern.get_num_threads(), [OWN, *peers])
    try:
        if wanted or arguments.scaling:
            run.cases(wanted, arguments.scaling)
        if arguments.memory:
            run.memory([case for case in memory.CASES if matches(case, arguments.case)])
        if arguments.accuracy:
            run.accuracy()
    except (harness.WrongResultError, process.WorkerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(run.as_json(), indent=1) + "\n")
    if arguments.markdown is not None:
        arguments.markdown.write_text(run.as_markdown() + "\n")
    if arguments.plot is not None:
        plot.draw(arguments.plot, run.results, run.curves)
    return 0


class Run:
    """What was measured, printed as it comes.

    Attributes:
        results: of the cases.
        curves: of scaling.
    """

    def __init__(self, threads: int, names: Sequence[str]) -> None:
        self.results: list[harness.Result] = []
        self.curves: list[scaling.Curve] = []
        self._rows: list[memory.Row] = []
        self._errors: list[accuracy.Error] = []
        self._threads, self._names = threads, list(names)
        self._libraries: dict[str, str] = {}
        self._peak: Peak | None = None

    def cases(self, wanted: Sequence[Case], with_scaling: bool) -> None:
        """Runs cases, and time per voxel, in one set of processes."""
        processes = process.start(self._names, self._threads)
        try:
            self._libraries = {p.name: p.version for p in processes}
            self._peak = best = Peak(**processes[0].ask("peak"))
            print(
                f"medkern {self._libraries[OWN]}, {_C.isa_active()}, {self._threads} threads; peak "
                f"{best.gflops:.0f} GFLOP/s float32, copy {best.gbytes:.1f} GB/s"
            )
            if wanted:
                self._time(wanted, processes, best)
            if with_scaling:
                self.curves = list(scaling.measure(processes[0]))
                print("\n".join(["", *scaling.lines(self.curves)]))
        finally:
            process.close(processes)

    def _time(self, wanted: Sequence[Case], processes: Sequence[process.Process], best: Peak) -> None:
        def timed() -> Iterator[harness.Result]:
            for case in wanted:
                self.results.append(harness.run(case, processes, best))
                yield self.results[-1]

        for line in report.lines(timed(), self._names[1:]):
            print(line, flush=True)
        if self._names[1:]:
            print("\n".join(["", *report.summary_lines(self.results)]))

    def memory(self, cases: Sequence[Case]) -> None:
        """Runs networks in processes of their own."""

        def measured() -> Iterator[memory.Row]:
            for row in memory.measure(cases, self._names, self._threads):
                self._rows.append(row)
                yield row

        for line in memory.lines(measured(), self._names):
            print(line, flush=True)

    def accuracy(self) -> None:
        """Computes the error of each kernel."""
        self._errors = list(accuracy.measure())
        print("\n".join(["", *accuracy.lines(self._errors)]))

    def as_json(self) -> dict[str, Any]:
        """Everything, fit for JSON."""
        return {
            **self._about(),
            "families": report.summary(self.results),
            "slower": [r.name for r in report.slower(self.results)],
            "results": report.as_json(self.results),
            "memory": [{**asdict(row), "share": row.share()} for row in self._rows],
            "accuracy": [asdict(error) for error in self._errors],
            "scaling": [{**asdict(curve), "flatness": curve.flatness} for curve in self.curves],
        }

    def as_markdown(self) -> str:
        """Everything as a page of tables."""
        page = [*report.heading(self._about()), *_NOTES, "", *report.markdown(self.results)]
        if self._rows:
            page += memory.markdown(self._rows, self._names)
        if self.curves:
            page += scaling.markdown(self.curves)
        if self._errors:
            page += accuracy.markdown(self._errors)
        return "\n".join(page)

    def _about(self) -> dict[str, Any]:
        return {
            "machine": machine.description(),
            "isa": _C.isa_active(),
            "environment": {key: value for key, value in os.environ.items() if key.startswith("MEDKERN_")},
            "threads": self._threads,
            "libraries": self._libraries,
            "peak": None if self._peak is None else asdict(self._peak),
        }


def main(argv: list[str] | None = None) -> int:
    """Parses `argv` and runs the command."""
    parser = argparse.ArgumentParser(prog="medkern bench", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
