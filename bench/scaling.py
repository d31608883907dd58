"""Whether cost grows as the work does: time per voxel over sizes from small to large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .case import Case
from .process import Process

_SIZES = {2: (32, 64, 128, 256, 512, 1024), 3: (32, 48, 64, 96, 128, 160)}
_SECONDS = 0.3
FLAT = 1.5

# Name, axes, operation, the sizes that go with the image's.
_CURVES: list[tuple[str, int, str, dict[str, Any]]] = [
    ("conv 3x3, 64 channels", 2, "conv", {"filters": 64}),
    ("conv 3x3, 64 channels, gradients", 2, "conv_gradients", {"filters": 64, "gradients": True}),
    ("max pool, 64 channels", 2, "pool", {"kind": "max"}),
    ("U-Net, 16 filters", 2, "inference", {"net": "unet", "options": {"filters": [16, 32, 64, 128, 256]}}),
    ("conv 3x3x3, 16 channels", 3, "conv", {"filters": 16}),
    ("conv 3x3x3, 16 channels, gradients", 3, "conv_gradients", {"filters": 16, "gradients": True}),
    ("max pool, 16 channels", 3, "pool", {"kind": "max"}),
    (
        "U-Net, 8 filters",
        3,
        "inference",
        {"net": "unet", "options": {"rank": 3, "filters": [8, 16, 32, 64, 128]}},
    ),
]


@dataclass(frozen=True)
class Curve:
    """Nanoseconds per voxel, by the length of the image's edge.

    Attributes:
        name: what was computed.
        rank: number of spatial axes.
        points: edge -> nanoseconds.
    """

    name: str
    rank: int
    points: dict[int, float] = field(default_factory=dict)

    @property
    def flatness(self) -> float:
        """Largest over smallest."""
        return max(self.points.values()) / min(self.points.values())


def measure(process: Process, largest: Sequence[int] = (1024, 160)) -> Iterator[Curve]:
    """The curves of medkern, the 2-D ones up to the first edge, the 3-D ones up to the second."""
    for name, rank, operation, sizes in _CURVES:
        curve = Curve(name, rank)
        channels = 1 if operation == "inference" else 64 if rank == 2 else 16
        for edge in _SIZES[rank]:
            if edge > largest[rank - 2]:
                continue
            case = Case(name, "", operation, {**sizes, "x": (1, channels, *(edge,) * rank)})
            process.ask("prepare", name=case.name, operation=case.operation, sizes=case.sizes)
            once = process.ask("warm", seconds=_SECONDS)["once"]
            curve.points[edge] = 1e9 * once / edge**rank
        process.ask("drop")
        yield curve


def lines(curves: Sequence[Curve]) -> Iterator[str]:
    """Lines for a terminal."""
    for rank, sizes in _SIZES.items():
        heads = "".join(f" {edge:>7}" for edge in sizes)
        yield f"{f'ns per voxel, {rank}-D, edge':<36}{heads} max/min"
        for curve in curves:
            if curve.rank == rank:
                points = "".join(f" {curve.points.get(edge, float('nan')):7.2f}" for edge in sizes)
                mark = "" if curve.flatness <= FLAT else f"  above {FLAT}"
                yield f"{curve.name:<36}{points} {curve.flatness:7.2f}{mark}"


def markdown(curves: Sequence[Curve]) -> list[str]:
    """Lines of the page of results."""
    page = ["## Scaling", "", f"Nanoseconds per voxel; flat means max/min up to {FLAT}.", ""]
    for rank, sizes in _SIZES.items():
        page += [
            f"| {rank}-D, edge | " + " | ".join(map(str, sizes)) + " | max/min |",
            "|---" * (len(sizes) + 2) + "|",
        ]
        for curve in curves:
            if curve.rank == rank:
                points = " | ".join(f"{curve.points.get(edge, float('nan')):.2f}" for edge in sizes)
                page.append(f"| {curve.name} | {points} | {curve.flatness:.2f} |")
        page.append("")
    return page
