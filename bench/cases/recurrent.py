"""Recurrent layers: report text, and sequences of image features."""

from __future__ import annotations

from typing import Any

from ..case import Case

# (batch, steps, inputs, hidden)
_SEQUENCES = {
    "report": (32, 64, 128, 128),
    "report_single": (1, 64, 128, 256),
    "cine_features": (64, 32, 256, 512),
    "monitor": (8, 200, 64, 256),
    "report_bidirectional": (16, 50, 128, 128),
}
_CELLS = {"single": (1, 128, 256), "batch32": (32, 128, 128), "batch64": (64, 256, 512)}


def _sequence(cell: str, name: str, **more: Any) -> dict[str, Any]:
    sizes = zip(("batch", "steps", "inputs", "hidden"), _SEQUENCES[name], strict=True)
    return {"cell": cell, **dict(sizes), "bidirectional": name.endswith("bidirectional"), **more}


def _cell(cell: str, name: str, **more: Any) -> dict[str, Any]:
    return {"cell": cell, **dict(zip(("batch", "inputs", "hidden"), _CELLS[name], strict=True)), **more}


CASES = [
    *[
        Case(f"{name}_{cell}", "sequence", "recurrent", _sequence(cell, name))
        for cell in ("lstm", "gru")
        for name in _SEQUENCES
    ],
    *[
        Case(
            f"{name}_{cell}_plain",
            "sequence_plain",
            "recurrent",
            _sequence(cell, name, prepared=False),
            ("torch",),
        )
        for cell in ("lstm", "gru")
        for name in _SEQUENCES
    ],
    *[
        Case(
            f"{name}_{cell}_gradients",
            "sequence_gradients",
            "recurrent",
            _sequence(cell, name, gradients=True),
            ("torch",),
        )
        for cell in ("lstm", "gru")
        for name in _SEQUENCES
    ],
    *[
        Case(f"{cell}_cell_{name}", "cell", "cell", _cell(cell, name))
        for cell in ("lstm", "gru")
        for name in _CELLS
    ],
    *[
        Case(
            f"{cell}_cell_{name}_plain",
            "cell_plain",
            "cell",
            _cell(cell, name, prepared=False),
            ("torch",),
        )
        for cell in ("lstm", "gru")
        for name in _CELLS
    ],
]
