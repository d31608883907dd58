"""Results as tables for people and JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from .cases import FAMILIES
from .harness import DISTURBED, Result
from .libraries import OWN, PEERS

SLOWER = 1.1  # a case that takes so many times the best peer's time is named


def geometric_mean(values: Iterable[float]) -> float:
    """exp(mean(log(values)))."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def milliseconds(seconds: float) -> str:
    """With three digits or more."""
    ms = seconds * 1e3
    return f"{ms:.4f}" if ms < 1 else f"{ms:.3f}" if ms < 10 else f"{ms:.1f}"


def lines(results: Iterable[Result], peers: Sequence[str]) -> Iterator[str]:
    """Lines for a terminal, as the results come: ours, then each peer's time over ours."""
    heads = "".join(f" {peer:>11}" for peer in peers)
    best = f" {'best':>6}" if peers else ""
    yield f"{'case':<32} {'ms':>8} {'spread':>6} {'rate':>7} {'':<7} {'of peak':>7}{heads}{best} {'error':>8}"
    family = ""
    for r in results:
        # Families that differ in precision take turns.
        if r.family.removesuffix(f"_{r.precision}") != family:
            family = r.family.removesuffix(f"_{r.precision}")
            yield f"-- {family}: {FAMILIES[r.family].title.removesuffix(f', {r.precision}')}"
        own = r.timings[OWN]
        ratios = "".join(f" {r.ratios[p]:11.2f}" if p in r.ratios else f" {'':>11}" for p in peers)
        best = f" {r.best[1]:6.2f}" if r.best else f" {'':>6}" if peers else ""
        yield (
            f"{r.name:<32} {milliseconds(own.seconds):>8} {own.spread:6.1%} {r.rate:7.1f} {r.unit:<7} "
            f"{r.share:7.1%}{ratios}{best} {own.error:8.1e}"
        )
        for failure in r.failures.values():
            yield f"    {failure}"
        if r.disturbed > DISTURBED:
            yield f"    other programs took {r.disturbed:.0%} of the processors"


def summary(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Per family: the geometric mean of the ratios to the best peer, and whether it reaches the goal.

    A case counts as meeting a goal of bandwidth too where it reaches that share of the machine's copies; a
    family meets its goal by its mean, or if each of its cases meets one of the two; some families have both
    for goals, by their means.
    """
    rows = []
    for name, family in FAMILIES.items():
        compared = [r for r in results if r.family == name and r.best is not None]
        if not compared:
            continue
        mean = geometric_mean(r.best[1] for r in compared if r.best)
        goal = family.goal or 0.0
        met = mean >= goal
        share = None
        if family.bandwidth is not None and family.is_both:
            share = geometric_mean(r.share for r in compared)
            met = met and share >= family.bandwidth
        elif family.bandwidth is not None:
            met = met or all(
                (r.best is not None and r.best[1] >= goal) or r.share >= family.bandwidth for r in compared
            )
        rows.append(
            {
                "family": name,
                "title": family.title,
                "cases": len(compared),
                "mean": mean,
                "least": min(r.best[1] for r in compared if r.best),
                "goal": family.goal,
                "share": share,
                "met": None if family.goal is None else met,
            }
        )
    return rows


def slower(results: Sequence[Result]) -> list[Result]:
    """The cases that take more than SLOWER times the best peer's time."""
    return [r for r in results if r.best is not None and r.best[1] < 1 / SLOWER]


def summary_lines(results: Sequence[Result]) -> Iterator[str]:
    """Lines for a terminal: the families against their goals, and the cases that are slower than a peer."""
    yield f"{'family':<24} {'cases':>5} {'mean':>6} {'least':>6} {'goal':>5}"
    for row in summary(results):
        mark = "met" if row["met"] else ""
        yield (
            f"{row['family']:<24} {row['cases']:5} {row['mean']:6.2f} {row['least']:6.2f} "
            f"{_goal(row):>5} {mark}{_share(row)}".rstrip()
        )
    named = slower(results)
    yield f"slower than {SLOWER} x the best peer: {len(named) or 'none'}"
    for r in named:
        assert r.best is not None
        yield f"  {r.name}: {1 / r.best[1]:.2f} x {r.best[0]}"


def _goal(row: dict[str, Any]) -> str:
    return "" if row["goal"] is None else f"{row['goal']:.2f}"


def _share(row: dict[str, Any]) -> str:
    return "" if row["share"] is None else f" {row['share']:.0%} of copies"


def as_json(results: Iterable[Result]) -> list[dict[str, Any]]:
    """The results for programs."""
    found = []
    for r in results:
        best = None if r.best is None else {"peer": r.best[0], "ratio": r.best[1]}
        found.append({**asdict(r), "ratios": r.ratios, "best": best})
    return found


def heading(about: dict[str, Any]) -> list[str]:
    """The first lines of the page: what was measured on what."""
    machine, peak, gpu = about["machine"], about["peak"], about.get("gpu")
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    page = [
        f"# medkern on {machine['processor'] if gpu is None else gpu['name']}",
        "",
        f"{machine['date']}; {'' if gpu is None else machine['processor'] + '; '}{about['threads']} threads, "
        f"{about['isa']}; caches {caches}; {machine['memory_gib']} GiB; {machine['system']}; Python "
        f"{machine['python']}.",
        "",
    ]
    if gpu is not None:
        page += ["GPU: " + ", ".join(f"{key} {value}" for key, value in gpu.items()) + ".", ""]
    if peak is not None:
        page += [f"Measured peak: {peak_line(peak)}.", ""]
    libraries = ", ".join(f"{name} {version}" for name, version in about["libraries"].items())
    return [*page, f"Libraries: {libraries}.", ""] if libraries else page


def peak_line(peak: dict[str, Any]) -> str:
    """A machine's peak in words."""
    copies = f"copy {peak['gbytes']:.0f} GB/s (read and written)"
    if not peak.get("products"):
        return f"{peak['gflops']:.0f} GFLOP/s float32, {copies}"
    products = ", ".join(f"{name} {rate / 1e3:.3g}" for name, rate in peak["products"].items())
    return f"{peak['gflops'] / 1e3:.3g} TFLOP/s float32, large products {products}, {copies}"


def markdown(results: Sequence[Result]) -> list[str]:
    """The cases' part of the page that `bench/results` keeps."""
    page = _families_page(results) if any(r.best for r in results) else []
    disturbed = [f"{r.name} ({r.disturbed:.0%})" for r in results if r.disturbed > DISTURBED]
    if disturbed:
        page += ["Measured while other programs used the processors: " + ", ".join(disturbed) + ".", ""]
    present = [p for p in PEERS if any(p in r.timings for r in results)]
    for name, family in FAMILIES.items():
        mine = [r for r in results if r.family == name]
        if mine:
            page += [f"## {name}: {family.title}", "", *_cases_table(mine, present), ""]
    return page


_MARKS = {True: "met", False: "short", None: ""}


def _families_page(results: Sequence[Result]) -> list[str]:
    """The families against their goals, and what is slow."""
    page = [
        "## Families",
        "",
        "| family | cases | geometric mean | least | goal | |",
        "|---|---|---|---|---|---|",
    ]
    for row in summary(results):
        page.append(
            f"| {row['family']}: {row['title']} | {row['cases']} | {row['mean']:.2f} | {row['least']:.2f} | "
            f"{_goal(row)} | {_MARKS[row['met']]}{_share(row)} |"
        )
    named = [f"- {r.name}: {1 / r.best[1]:.2f} times {r.best[0]}" for r in slower(results) if r.best]
    return [*page, "", f"## Slower than {SLOWER} times the best peer", "", *(named or ["None."]), ""]


def _cases_table(results: Sequence[Result], peers: Sequence[str]) -> list[str]:
    """A row for each case; empty cells where a peer has no such operation."""
    heads = "".join(f" {p} ms | x |" for p in peers)
    table = [
        f"| case | ms | spread | rate | of peak |{heads} best | error |",
        "|---" * (7 + 2 * len(peers)) + "|",
    ]
    for r in results:
        own = r.timings[OWN]
        cells = "".join(
            f" {milliseconds(r.timings[p].seconds)} | {r.ratios[p]:.2f} |" if p in r.timings else " | |"
            for p in peers
        )
        best = f"{r.best[1]:.2f} {r.best[0]}" if r.best else ""
        table.append(
            f"| {r.name} | {milliseconds(own.seconds)} | {own.spread:.1%} | {r.rate:.1f} {r.unit} | "
            f"{r.share:.0%} |{cells} {best} | {own.error:.1e} |"
        )
    return table
