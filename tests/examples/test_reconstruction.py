import json
import runpy
import sys
from pathlib import Path

import pytest

from medkern.data import demo

SCRIPT = Path(__file__).parents[2] / "examples" / "reconstruction.py"


def run(monkeypatch, capsys, *arguments):
    """The figures that the script prints last."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("name", ["ct", "mri"])
def test_a_small_network_removes_artifacts(monkeypatch, capsys, tmp_path, name):
    pytest.importorskip("nilearn")
    pytest.importorskip("matplotlib")
    pytest.importorskip("scipy")
    small = ["--epochs", 4, "--filters", 4, "--every", 6, "--views", 20, "--only", name, "-o", tmp_path]
    result = run(monkeypatch, capsys, *small)
    assert list(result) == [name] and (tmp_path / f"{name}.png").exists()
    found = result[name]
    assert found["psnr_gain"] > 1.0  # the full run is at docs/examples
    assert found["psnr"] == pytest.approx(found["before"]["psnr"] + found["psnr_gain"])
    assert found["slices"] == {"train": 16, "validation": 6, "test": 22}


def test_no_slice_is_in_two_sets():
    parts = [set(demo.TRAIN), set(demo.VALIDATION), set(demo.TEST)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
