import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "gan.py"


def run(monkeypatch, capsys, *arguments):
    """The figures that the script prints last."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_made_patches_come_to_be_like_real_ones(monkeypatch, capsys, tmp_path):
    pytest.importorskip("nilearn")
    pytest.importorskip("matplotlib")
    pytest.importorskip("scipy")
    result = run(monkeypatch, capsys, "-o", tmp_path, "--per-place", 2, "--filters", 8, "--epochs", 7)
    assert result["distance"] < result["first_distance"] / 3  # the full run is at docs/examples
    assert 1 <= result["inception_score"] <= 6
    assert 400 < result["patches"] < 2 * 6 * 94
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"real.png", "checkpoint.safetensors", *(f"epoch_{i:02d}.png" for i in range(1, 8))}
