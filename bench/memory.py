"""Peak memory of networks: each library in a fresh process that does nothing else.

The peak is that of running: it is counted from the moment the model is ready, what was needed only to get
there given back. ONNX models are written by another process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .case import Case
from .cases import network
from .libraries import OWN
from .process import Process, WorkerError, close

GOAL = 0.6  # of the leanest peer
_NAMES = (
    "unet64_256_predict",
    "unet64_512_predict",
    "unet3d_96_predict",
    "unet32_bce_step",
    "unet3d_dice_step",
)
_CALLS = 3
_MIB = 2**20

CASES = [case for case in network.CASES if case.name in _NAMES]


@dataclass(frozen=True)
class Memory:
    """Bytes that a library's process has in memory.

    Attributes:
        imported: after the library was loaded.
        peak: at most, while the case ran.
    """

    imported: int
    peak: int

    @property
    def above(self) -> int:
        """The part above what importing the library takes."""
        return self.peak - self.imported


@dataclass(frozen=True)
class Row:
    """A case's memory, by library."""

    name: str
    memory: dict[str, Memory]

    def share(self, above: bool = False) -> float | None:
        """Ours over the leanest peer's, of the whole process or of the part above the import."""
        peers = [m.above if above else m.peak for name, m in self.memory.items() if name != OWN]
        own = self.memory[OWN]
        return (own.above if above else own.peak) / min(peers) if peers else None


def measure(cases: Sequence[Case], names: Sequence[str], threads: int) -> Iterator[Row]:
    """The memory that the libraries named need for each case."""
    for case in cases:
        found = {}
        for name in names:
            if case.peers is not None and name != OWN and name not in case.peers:
                continue
            memory = _of(name, case, threads)
            if memory is not None:
                found[name] = memory
        yield Row(case.name, found)


def _of(name: str, case: Case, threads: int) -> Memory | None:
    """A library's memory, or None where it can't compute the case."""
    about = {"name": case.name, "operation": case.operation, "sizes": case.sizes}
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model.onnx")
        try:
            exported = _asked(name, threads, [("export", {**about, "file": model})])[-1]["able"]
            ready = ("load", {**about, "file": model}) if exported else ("prepare", about)
            answers = _asked(name, threads, [("start", {}), ready, ("memory", {"calls": _CALLS})])
        except WorkerError:
            if name == OWN:
                raise
            return None
    if not answers[1]["able"]:
        return None
    return Memory(answers[0]["memory"], answers[2]["peak"])


def _asked(name: str, threads: int, requests: Sequence[tuple[str, dict]]) -> list[dict]:
    process = Process(name, threads)
    try:
        return [process.ask(do, **arguments) for do, arguments in requests]
    finally:
        close([process])


def lines(rows: Iterable[Row], names: Sequence[str]) -> Iterator[str]:
    """Lines for a terminal, as the rows come: MiB of the whole process, and of the part above the import."""
    heads = "".join(f" {name:>16}" for name in names)
    yield f"{'peak MiB (above the import)':<28}{heads} {'of leanest':>16}"
    for row in rows:
        cells = ""
        for name in names:
            m = row.memory.get(name)
            cells += f" {'' if m is None else f'{m.peak / _MIB:.0f} ({m.above / _MIB:.0f})':>16}"
        share, above = row.share(), row.share(above=True)
        shares = "" if share is None or above is None else f"{share:.2f} ({above:.2f})"
        yield f"{row.name:<28}{cells} {shares:>16}"


def markdown(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Lines of the page of results."""
    page = [
        "## Peak memory",
        "",
        "MiB in memory at most while running, the model loaded; in brackets the part above what importing",
        f"the library takes. Goal: at most {GOAL} of the leanest peer's.",
        "",
        "| case | " + " | ".join(names) + " | of leanest |",
        "|---" * (len(names) + 2) + "|",
    ]
    for row in rows:
        cells = [
            "" if m is None else f"{m.peak / _MIB:.0f} ({m.above / _MIB:.0f})"
            for m in (row.memory.get(name) for name in names)
        ]
        share, above = row.share(), row.share(above=True)
        cells.append("" if share is None or above is None else f"{share:.2f} ({above:.2f})")
        page.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return [*page, ""]
