import json

import numpy as np
import pytest
from medkern.bench import __main__ as command
from medkern.bench import cases, harness, peak


@pytest.fixture
def fast(monkeypatch):
    for name in ("WARM_UP_SECONDS", "SAMPLE_SECONDS", "TIMED_SECONDS"):
        monkeypatch.setattr(harness, name, 1e-4)
    monkeypatch.setattr(peak, "_SECONDS", 1e-3)


def work(value=1.0, expected=1.0, flops=0, size=8):
    return harness.Work(lambda: np.array([value]), lambda: np.array([expected]), flops, size, 1e-6)


def test_a_wrong_result_is_not_timed():
    case = harness.Case("c", "f", lambda rng: work(value=1.1))
    with pytest.raises(harness.WrongResultError, match="c: relative error 1"):
        harness.run(case, peak.Peak(1, 1))
    for wrong in (np.nan, np.inf):
        with pytest.raises(harness.WrongResultError):
            harness.check(case, work(value=wrong))
    with pytest.raises(harness.WrongResultError, match=r"shape \(1,\), expected \(2,\)"):
        harness.check(case, harness.Work(lambda: np.ones(1), lambda: np.ones(2), 0, 8, 1.0))


def test_a_result_says_what_limits_the_case(fast):
    best = peak.Peak(gflops=100.0, gbytes=10.0)
    memory = harness.run(harness.Case("m", "f", lambda rng: work(flops=10, size=1000)), best)
    arithmetic = harness.run(harness.Case("a", "f", lambda rng: work(flops=10**5, size=1000)), best)
    assert memory.unit == "GB/s" and arithmetic.unit == "GFLOP/s"
    assert memory.rate == pytest.approx(1000 / memory.seconds / 1e9)
    assert memory.share == pytest.approx(memory.rate / 10)
    assert arithmetic.share == pytest.approx(arithmetic.rate / 100)
    assert memory.samples >= harness.FEWEST_SAMPLES


def test_peak_is_positive(fast):
    found = peak.measure()
    assert found.gflops > 0 and found.gbytes > 0


def test_the_command_times_a_family_and_writes_json(fast, tmp_path, capsys, monkeypatch):
    small = harness.Case("small", "pool", lambda rng: cases.max_pool(rng, (1, 2, 8, 8)))
    monkeypatch.setattr(command, "CASES", [small])
    file = tmp_path / "results.json"
    assert command.main(["pool", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert [r["name"] for r in report["results"]] == ["small"]
    assert report["results"][0]["seconds"] > 0 and report["peak_gflops"] > 0
    assert "small" in capsys.readouterr().out


def test_bad_arguments(capsys):
    assert command.main(["nothing"]) == 2
    assert "unknown family 'nothing'; there are" in capsys.readouterr().err
    assert command.main(["--threads", "0"]) == 2
    assert "count must be from 1" in capsys.readouterr().err


def test_cases_have_names_of_their_own():
    names = [case.name for case in cases.CASES]
    assert len(set(names)) == len(names)
