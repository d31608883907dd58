"""A row of the table of goals."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A row of the table of goals.

    Attributes:
        title: what it is.
        goal: the geometric mean, over its cases, of the best peer's median time over ours, or None.
        bandwidth: a share of the machine's copy bandwidth that will do instead.
        is_both: whether that share is a goal beside the other, of its cases' geometric mean.
    """

    title: str
    goal: float | None
    bandwidth: float | None = None
    is_both: bool = False
