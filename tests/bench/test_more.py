"""The benchmark's other parts: memory, scaling, pictures."""

import json

import numpy as np
import pytest
from medkern.bench import __main__ as command
from medkern.bench import case, harness, libraries, memory, plot, resident, scaling

SMALL = case.Case("small", "unet_predict", "conv", {"x": [1, 2, 6, 6], "filters": 3})


def test_the_peak_counts_from_its_reset():
    resident.reset_peak()
    before = resident.peak()
    block = np.ones(1 << 25)  # 256 MiB
    assert resident.peak() - before > 200 * 2**20
    del block
    assert resident.now() < resident.peak()
    resident.reset_peak()
    assert resident.peak() - before < 200 * 2**20


def test_memory_is_that_of_a_fresh_process():
    (row,) = memory.measure([SMALL], [libraries.OWN, "numpy"], 1)
    assert set(row.memory) == {libraries.OWN}  # NumPy has no convolution
    own = row.memory[libraries.OWN]
    assert 10 * 2**20 < own.imported < own.peak < 2**30 and own.above == own.peak - own.imported
    assert row.share() is None


def test_memory_is_held_against_the_leanest_peer():
    found = {
        libraries.OWN: memory.Memory(imported=10, peak=60),
        "torch": memory.Memory(imported=50, peak=100),
        "ort": memory.Memory(imported=20, peak=120),
    }
    row = memory.Row("r", found)
    assert row.share() == 0.6 and row.share(above=True) == 1.0
    assert "0.60 (1.00)" in list(memory.lines([row], list(found)))[1]
    assert "0.60 (1.00)" in memory.markdown([row], list(found))[-2]


class FakeProcess:
    """Says that a call took 1 ms, or 3 ms at the largest size."""

    def ask(self, do, **arguments):
        if do == "prepare":
            self.edge = arguments["sizes"]["x"][-1]
        return {"once": 3e-3 if self.edge == 64 else 1e-3}


def test_scaling_is_time_per_voxel():
    curves = list(scaling.measure(FakeProcess(), largest=(64, 64)))
    first = curves[0]
    assert first.points == {32: pytest.approx(1e6 / 32**2), 64: pytest.approx(3e6 / 64**2)}
    assert first.flatness == pytest.approx(4 / 3)
    text = list(scaling.lines(curves))
    assert "1.33" in text[1] and "above" not in text[1]
    page = scaling.markdown(curves)
    assert len({line.count("|") for line in page if line.startswith("|")}) == 1


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    timings = {name: harness.Timing(s, 0.1, 7, 0.0) for name, s in ((libraries.OWN, 1.0), ("torch", 2.0))}
    result = harness.Result("a", "conv3x3", 1, 1, 1.0, "GFLOP/s", 0.5, timings)
    other = harness.Result("b", "gemm_float32", 1, 1, 1.0, "GFLOP/s", 0.5, timings)  # without a goal
    curve = scaling.Curve("c", 2, {32: 1.0, 64: 2.0})
    for n, (results, curves) in enumerate([([result, other], [curve]), ([result], []), ([], [curve])]):
        file = tmp_path / f"{n}.png"
        plot.draw(file, results, curves)
        assert file.read_bytes().startswith(b"\x89PNG")
    plot.draw(tmp_path / "nothing.png", [], [])
    assert not (tmp_path / "nothing.png").exists()


def test_the_command_runs_the_other_parts_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "CASES", [SMALL])
    monkeypatch.setattr(command.accuracy, "CASES", [("a", "gemm", {"m": 2, "n": 3, "k": 4})])
    files = tmp_path / "r.json", tmp_path / "r.md"
    assert command.main(["--memory", "--accuracy", "--json", str(files[0]), "--markdown", str(files[1])]) == 0
    made = json.loads(files[0].read_text())
    assert [row["name"] for row in made["memory"]] == ["small"] and made["results"] == []
    assert [row["name"] for row in made["accuracy"]] == ["a"]
    page = files[1].read_text()
    assert "## Peak memory" in page and "## Accuracy" in page and "## Scaling" not in page
    assert "small" in capsys.readouterr().out
