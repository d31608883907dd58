"""Pictures of the results: each case's ratio to the best peer, and time per voxel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .cases import FAMILIES
from .harness import Result
from .report import geometric_mean
from .scaling import FLAT, Curve

_RED, _GREEN, _GRAY = "#b3352b", "#2a7f4f", "#8a8a8a"


def draw(path: Path, results: Sequence[Result], curves: Sequence[Curve]) -> None:
    """Writes one picture; without anything to show, none.

    Args:
        path: the file; its ending says which format.
        results: cases compared with peers.
        curves: time per voxel.
    """
    compared = [r for r in results if r.best is not None]
    parts = [bool(compared), bool(curves)]
    if not any(parts):
        return
    # The figure's own canvas: pyplot would choose a window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    families = [name for name in FAMILIES if any(r.family == name for r in compared)]
    height = max(4.0, 0.32 * len(families) + 1.2)
    figure = Figure(figsize=(7.5 * sum(parts), height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = iter(figure.subplots(1, sum(parts), squeeze=False)[0])
    if compared:
        _ratios(next(axes), families, compared)
    if curves:
        _per_voxel(next(axes), curves)
    figure.savefig(path, dpi=130)


def _ratios(axes: Any, families: Sequence[str], results: Sequence[Result]) -> None:
    """A dot per case, a bar at each family's mean, a tick at its goal."""
    for y, name in enumerate(reversed(families)):
        ratios = [r.best[1] for r in results if r.family == name and r.best]
        mean, goal = geometric_mean(ratios), FAMILIES[name].goal
        axes.plot(ratios, [y] * len(ratios), "o", color=_GRAY, markersize=4, alpha=0.7)
        color = "black" if goal is None else _GREEN if mean >= goal else _RED
        axes.plot([mean], [y], "D", color=color, markersize=7)
        if goal is not None:
            axes.plot([goal], [y], "|", color="black", markersize=16)
    axes.set_yticks(range(len(families)), list(reversed(families)))
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("best peer's time / medkern's: cases, geometric mean (diamond), goal (bar)")
    axes.grid(axis="x", alpha=0.3)


def _per_voxel(axes: Any, curves: Sequence[Curve]) -> None:
    """Time per voxel over the number of voxels, relative to each curve's smallest."""
    for curve in curves:
        voxels = [edge**curve.rank for edge in curve.points]
        least = min(curve.points.values())
        times = [value / least for value in curve.points.values()]
        style = "o-" if curve.rank == 2 else "s--"
        axes.plot(voxels, times, style, markersize=4, label=f"{curve.rank}-D {curve.name}")
    axes.axhline(FLAT, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("voxels")
    axes.set_ylabel("time per voxel / smallest")
    axes.set_ylim(bottom=0.9)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
