import runpy
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "registration.py"


def test_slices(run_example, tmp_path):
    for package in ("nilearn", "matplotlib", "scipy"):
        pytest.importorskip(package)
    result = run_example("registration", "-o", tmp_path, "--epochs", 3, "--pairs", 4)
    assert result["ratio"] < 0.9  # after 3 epochs; the full run is at docs/examples
    assert result["correlation_after"] > result["correlation_before"] + 0.05
    assert result["folds"] < 0.01 * result["elements"]
    assert {p.name for p in tmp_path.iterdir()} == {"pair0.png", "pair1.png"}


def test_volumes(run_example, tmp_path):
    for package in ("nilearn", "matplotlib", "scipy"):
        pytest.importorskip(package)
    result = run_example("registration", "-o", tmp_path, "--dims", 3, "--epochs", 1, "--pairs", 3)
    assert 3 < result["target_error_before_mm"] < 9
    assert result["ratio"] < 0.99 and result["folds"] == 0  # after 48 steps
    assert result["correlation_after"] > result["correlation_before"]


@pytest.mark.parametrize("shape", [(40, 36), (20, 24, 22)])
def test_the_inverse_of_the_field_has_no_target_error(rng, shape):
    script = runpy.run_path(str(SCRIPT))
    field = np.zeros((len(shape), *shape), np.float32)
    field[0], field[-1] = 2.5, -1.25
    image = np.ones(shape, np.float32)
    before, after = script["target_errors"](field, -field, image)
    assert before == pytest.approx(np.hypot(2.5, 1.25)) and after < 1e-5
    before, after = script["target_errors"](field, field, image)  # the wrong way
    assert after == pytest.approx(2 * before)
    pair, field = script["make_pair"](rng.random(shape, np.float32), rng)
    assert pair.shape == (2, *shape) and field.shape == (len(shape), *shape)
