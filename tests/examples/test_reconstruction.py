import pytest

from medkern.data import demo


@pytest.mark.parametrize("name", ["ct", "mri"])
def test_a_small_network_removes_artifacts(run_example, tmp_path, name):
    pytest.importorskip("nilearn")
    pytest.importorskip("matplotlib")
    pytest.importorskip("scipy")
    small = ["--epochs", 4, "--filters", 4, "--every", 6, "--views", 20, "--only", name, "-o", tmp_path]
    result = run_example("reconstruction", *small)
    assert list(result) == [name, "seconds", "processor_seconds"] and (tmp_path / f"{name}.png").exists()
    found = result[name]
    assert found["psnr_gain"] > 1.0  # the full run is at docs/examples
    assert found["psnr"] == pytest.approx(found["before"]["psnr"] + found["psnr_gain"])
    assert found["slices"] == {"train": 16, "validation": 6, "test": 22}


def test_no_slice_is_in_two_sets():
    parts = [set(demo.TRAIN), set(demo.VALIDATION), set(demo.TEST)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
