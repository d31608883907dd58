import pytest


def test_made_patches_come_to_be_like_real_ones(run_example, tmp_path):
    pytest.importorskip("nilearn")
    pytest.importorskip("matplotlib")
    pytest.importorskip("scipy")
    result = run_example("gan", "-o", tmp_path, "--per-place", 2, "--filters", 8, "--epochs", 7)
    assert result["distance"] < result["first_distance"] / 3  # the full run is at docs/examples
    assert 1 <= result["inception_score"] <= 6
    assert 400 < result["patches"] < 2 * 6 * 94
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"real.png", "checkpoint.safetensors", *(f"epoch_{i:02d}.png" for i in range(1, 8))}
