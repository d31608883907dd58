import numpy as np
import pytest

from medkern import models
from medkern.io.weights import save_weights


def test_a_network_with_given_weights_and_a_picture(run_example, tmp_path, rng):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(rng.integers(0, 255, (40, 50, 3)).astype(np.uint8)).save(tmp_path / "a.png")
    net = models.ResNet(18)
    net.fc.weight.copy_(np.zeros(net.fc.weight.shape, np.float32))
    net.fc.bias.copy_(np.eye(1000, dtype=np.float32)[7])  # class 7, whatever is seen
    save_weights(net, tmp_path / "a.safetensors")
    arguments = ("--weights", tmp_path / "a.safetensors", "--image", tmp_path / "a.png", "--size", 64)
    (found,) = run_example("architectures", "resnet18", *arguments)["networks"]
    assert found["parameters"] == 11_689_512 and found["best"][0][0][0] == 7
    assert found["difference"] < 1e-5


def test_weights_of_another_network_are_refused(run_example, capsys, tmp_path):
    save_weights(models.CNN(28), tmp_path / "a.safetensors")
    with pytest.raises(SystemExit, match=r"architectures: .*a\.safetensors: "):
        run_example("architectures", "resnet18", "--weights", tmp_path / "a.safetensors")
    with pytest.raises(SystemExit):
        run_example("architectures", "resnet19")
    assert "NETWORK must be one of" in capsys.readouterr().err
