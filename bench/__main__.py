"""`python -m medkern.bench`, also `medkern bench`: times the kernels against what the machine can do."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from medkern.bench import harness, peak
from medkern.bench.cases import CASES

import medkern
from medkern import _C

FAMILIES = sorted({case.family for case in CASES})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "families", nargs="*", metavar="FAMILY", help=f"which kernels (all): {', '.join(FAMILIES)}"
    )
    parser.add_argument("--threads", type=int, help="number of threads")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; 1 if a result was wrong, 2 if an argument was."""
    unknown = [name for name in arguments.families if name not in FAMILIES]
    if unknown:
        print(f"bench: unknown family {unknown[0]!r}; there are {', '.join(FAMILIES)}", file=sys.stderr)
        return 2
    try:
        if arguments.threads is not None:
            medkern.set_num_threads(arguments.threads)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    best = peak.measure()
    machine = {"isa": _C.isa_active(), "threads": medkern.get_num_threads()}
    print(
        f"medkern {medkern.__version__}, {machine['isa']}, {machine['threads']} threads; peak "
        f"{best.gflops:.0f} GFLOP/s float32, copy {best.gbytes:.1f} GB/s"
    )
    wanted = [case for case in CASES if not arguments.families or case.family in arguments.families]
    results: list[harness.Result] = []

    def timed() -> Iterator[harness.Result]:
        for case in wanted:
            results.append(harness.run(case, best))
            yield results[-1]

    try:
        for line in harness.table(timed()):
            print(line, flush=True)
    except harness.WrongResultError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if arguments.json is not None:
        report = {
            "version": medkern.__version__,
            **machine,
            "peak_gflops": best.gflops,
            "peak_gbytes": best.gbytes,
            "results": harness.as_json(results),
        }
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Parses `argv` and runs the command."""
    parser = argparse.ArgumentParser(prog="medkern bench", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
