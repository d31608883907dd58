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
from .case import PRECISIONS, Case
from .cases import BY_DEVICE, FAMILIES
from .libraries import OWN, peers_on
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
_CUDA_NOTES = (
    "Every case is checked against float64 before it is timed. Libraries run in processes of their own and",
    "take turns in rounds, their arrays on the device. A sample is many calls and one wait for the device,",
    "so small ones show what it takes to queue them. ms is the median of one call, spread the distance of",
    "the quartiles over the median, x a peer's median over medkern's, best the smallest x. The share of the",
    "peak is that of the best large product of the same precision, or of the best copy, of any library.",
    "",
    "medkern reads and gives channels-last arrays, as its layers do; torch is PyTorch with contiguous",
    "tensors, torch-cl with channels-last ones (weights too); cuDNN tries its algorithms first. Precision is",
    "that of products: float32 exactly, tf32 with operands rounded to 11 bits, by both libraries. In bf16",
    "arrays and weights are bfloat16, medkern's where its kernels take them; else they are float32 and the",
    "operands of products are rounded to 8 bits. PyTorch's training steps in bf16 are under autocast.",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "families",
        nargs="*",
        metavar="FAMILY",
        help=f"which cases: all, {', '.join(BY_DEVICE['cpu'])}, or a family: {', '.join(FAMILIES)}; all "
        "without --accuracy, --memory and --scaling, none with one of them",
    )
    parser.add_argument("--device", choices=[*BY_DEVICE], default="cpu", help="where the cases run (cpu)")
    parser.add_argument(
        "--precision",
        default="float32,tf32",
        metavar="LIST",
        help=f"of products on a CUDA device, separated by commas: {', '.join(PRECISIONS)} (float32,tf32)",
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
        help=f"compare with these libraries, separated by commas (all): {', '.join(peers_on('cpu'))}; on a "
        f"CUDA device {', '.join(peers_on('cuda'))}",
    )
    parser.add_argument("--threads", type=int, help="number of threads")
    parser.add_argument("--accuracy", action="store_true", help="publish the error of each kernel")
    parser.add_argument("--memory", action="store_true", help="measure the peak memory of networks")
    parser.add_argument("--scaling", action="store_true", help="measure time per voxel from small to large")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write a page of tables there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw ratios and time per voxel there")
    parser.add_argument("--list", action="store_true", help="name the cases and leave")


def chosen(
    families: Sequence[str],
    patterns: Sequence[str] | None,
    device: str = "cpu",
    precisions: Sequence[str] = PRECISIONS,
) -> list[Case]:
    """The cases of these families or kinds whose names match one of the patterns.

    Raises:
        ValueError: a family or a precision is unknown, or there is no such case.
    """
    kinds = BY_DEVICE[device]
    own = dict.fromkeys(case.family for cases in kinds.values() for case in cases)
    for name in families:
        if name not in kinds and name not in own and name != "all":
            raise ValueError(f"unknown family {name!r}; there are all, {', '.join([*kinds, *own])}")
    for name in precisions:
        if name not in PRECISIONS:
            raise ValueError(f"unknown precision {name!r}; there are {', '.join(PRECISIONS)}")
    found = [
        case
        for kind, cases in kinds.items()
        for case in cases
        if not families or {"all", kind, case.family} & set(families)
        if case.precision in precisions and matches(case.name, patterns)
    ]
    if not found:
        kind = (
            f"is named {' or '.join(patterns)}"
            if patterns
            else f"has the precision {' or '.join(precisions)}"
        )
        raise ValueError(f"no case {kind}")
    return found


def matches(name: str, patterns: Sequence[str] | None) -> bool:
    """Whether a name matches one of the patterns; without patterns all do."""
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def peers_of(text: str | None, device: str = "cpu") -> list[str]:
    """The libraries that --peers names.

    Raises:
        ValueError: one is unknown.
    """
    known = peers_on(device)
    names = [] if text is None else list(known) if text == "all" else text.split(",")
    for name in names:
        if name not in known:
            raise ValueError(f"unknown peer {name!r}; there are {', '.join(known)}")
    return names


def run(arguments: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        0; 1 if a result was wrong, a process failed, there is no such device, or the command was interrupted;
        2 if an argument was wrong.
    """
    other = arguments.accuracy or arguments.memory or arguments.scaling
    device = arguments.device
    try:
        if other and device != "cpu":
            raise ValueError("--accuracy, --memory and --scaling are measured on the CPU")
        precisions = PRECISIONS if device == "cpu" else arguments.precision.split(",")
        wanted = (
            []
            if other and not arguments.families
            else chosen(arguments.families, arguments.case, device, precisions)
        )
        peers = peers_of(arguments.peers, device)
        if arguments.threads is not None:
            medkern.set_num_threads(arguments.threads)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if arguments.list:
        for case in wanted:
            print(f"{case.family:<24} {case.title}")
        return 0
    if device != "cpu":
        try:
            medkern.cuda.device_count()
        except medkern.DeviceError as error:
            print(f"bench: there is no CUDA device to measure. {error}", file=sys.stderr)
            return 1
    run = Run(medkern.get_num_threads(), [OWN, *peers], device)
    try:
        if wanted or arguments.scaling:
            run.cases(wanted, arguments)
        if arguments.memory:
            run.memory([case for case in memory.CASES if matches(case.name, arguments.case)])
        if arguments.accuracy:
            run.accuracy()
    except (harness.WrongResultError, process.WorkerError) as error:
        run.failed["stopped"] = str(error)
    except KeyboardInterrupt:
        run.failed["interrupted"] = f"after {len(run.results)} of {len(wanted)} cases"
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(run.as_json(), indent=1) + "\n")
    if arguments.markdown is not None:
        arguments.markdown.write_text(run.as_markdown() + "\n")
    if arguments.plot is not None:
        plot.draw(arguments.plot, run.results, run.curves)
    for name, message in run.failed.items():
        print(f"bench: {name}: {message}", file=sys.stderr)
    return 1 if run.failed else 0


class Run:
    """What was measured, printed as it comes.

    Attributes:
        results: of the cases.
        failed: case -> what kept medkern from being timed.
        curves: of scaling.
    """

    def __init__(self, threads: int, names: Sequence[str], device: str) -> None:
        self.results: list[harness.Result] = []
        self.failed: dict[str, str] = {}
        self.curves: list[scaling.Curve] = []
        self._rows: list[memory.Row] = []
        self._errors: list[accuracy.Error] = []
        self._threads, self._names, self._device = threads, list(names), device
        self._gpu: dict[str, Any] | None = None
        self._libraries: dict[str, str] = {}
        self._peak: Peak | None = None

    def cases(self, wanted: Sequence[Case], arguments: argparse.Namespace) -> None:
        """Runs cases, and time per voxel, in one set of processes."""
        processes = process.start(self._names, self._threads, self._device)
        try:
            self._libraries = {p.name: p.version for p in processes}
            if self._device == "cpu":
                self._peak = best = harness.peak_of(processes[0])
                where = f"{_C.isa_active()}, {self._threads} threads"
            else:
                self._peak = best = harness.peak_of_device(processes)
                self._gpu = machine.gpu()  # clocks are those of a device at work
                where = ", ".join(f"{key} {value}" for key, value in self._gpu.items())
            print(
                f"medkern {self._libraries[OWN]}, {where}; peak {report.peak_line(asdict(best))}", flush=True
            )
            if wanted:
                self._time(wanted, processes, best)
            if arguments.scaling:
                self.curves = list(scaling.measure(processes[0], lambda name: matches(name, arguments.case)))
                print("\n".join(["", *scaling.lines(self.curves)]))
        finally:
            process.close(processes)

    def _time(self, wanted: Sequence[Case], processes: Sequence[process.Process], best: Peak) -> None:
        expected = harness.Expected(wanted)

        def timed() -> Iterator[harness.Result]:
            for case in wanted:
                try:
                    self.results.append(harness.run(case, processes, best, expected))
                except (harness.WrongResultError, process.WorkerError) as error:
                    self.failed[case.title] = str(error)
                    print(f"    not timed: {error}", flush=True)
                else:
                    yield self.results[-1]
                for each in processes:
                    if each.is_lost:
                        each.restart()

        try:
            for line in report.lines(timed(), self._names[1:]):
                print(line, flush=True)
        finally:
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
            "failed": self.failed,
            "families": report.summary(self.results),
            "slower": [r.name for r in report.slower(self.results)],
            "results": report.as_json(self.results),
            "memory": [{**asdict(row), "share": row.share()} for row in self._rows],
            "accuracy": [asdict(error) for error in self._errors],
            "scaling": [{**asdict(curve), "flatness": curve.flatness} for curve in self.curves],
        }

    def as_markdown(self) -> str:
        """Everything as a page of tables."""
        notes = _NOTES if self._device == "cpu" else _CUDA_NOTES
        page = [*report.heading(self._about()), *notes, "", *report.markdown(self.results)]
        if self.failed:
            page += ["## Not timed", "", *(f"- {name}: {text}" for name, text in self.failed.items()), ""]
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
            **({} if self._gpu is None else {"gpu": self._gpu}),
        }


def main(argv: list[str] | None = None) -> int:
    """Parses `argv` and runs the command."""
    parser = argparse.ArgumentParser(prog="medkern bench", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
