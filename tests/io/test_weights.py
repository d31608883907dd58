import json

import numpy as np
import pytest

import medkern
from medkern import models, nn
from medkern.io import DataError
from medkern.io.weights import load_model, load_weights, save_model, save_weights


@pytest.fixture
def model():
    medkern.random.manual_seed(1)
    return models.UNet(1, 2, filters=(4, 8), norm="batch", activation=None)


def output(model):
    x = np.random.default_rng(0).random((1, 1, 8, 8), dtype=np.float32)
    return model.eval()(medkern.tensor(x)).numpy()


@pytest.mark.parametrize("name", ["run", "run/model.safetensors", "some.safetensors"])
def test_a_model_comes_back_from_a_folder_or_a_file(tmp_path, model, name):
    save_model(model, tmp_path / name, {"classes": ["a", "b"]})
    loaded, metadata = load_model(tmp_path / name)
    assert metadata == {"classes": ["a", "b"]}
    assert not loaded.training
    np.testing.assert_array_equal(output(loaded), output(model))
    again, _ = load_model(
        (tmp_path / name / "model" if name == "run" else tmp_path / name).with_suffix(".json")
    )
    np.testing.assert_array_equal(output(again), output(model))


def test_only_known_models_are_saved(tmp_path):
    with pytest.raises(TypeError, match="model must be one of"):
        save_model(nn.Linear(2, 2), tmp_path)


def broken(path, **changes):
    document = json.loads((path / "model.json").read_text())
    for key, value in changes.items():
        (document["model"] if key in document["model"] else document)[key] = value
    (path / "model.json").write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    "changes,message",
    [
        (dict(format="other"), r"model\.json: does not describe a medkern model"),
        (dict(version=2), r"model\.json: version must be 1, got 2"),
        (dict(model=[1]), r"model\.json: build: config must be a mapping"),
        (dict(name="os.system"), r"model\.json: build: name must be one of"),
        (dict(filters=[4, -8]), r"model\.json: .*filters"),
        (dict(filters=["a", "b"]), r"model\.json: "),
        (dict(filters=7), r"model\.json: "),
        (dict(filters=[2**40, 2**40]), r"model\.json: "),
        (dict(filters=[4, 9]), r"model\.safetensors: load_state_dict"),
        (dict(metadata=3), r"model\.json: metadata must be an object"),
    ],
)
def test_descriptions_that_do_not_fit_are_named(tmp_path, model, changes, message):
    save_model(model, tmp_path)
    with pytest.raises(DataError, match=message):
        load_model(broken(tmp_path, **changes))


def test_weights_of_another_architecture_are_named(tmp_path, model):
    path = tmp_path / "other.safetensors"
    save_weights(models.CNN(8, classes=3), path)
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    with pytest.raises(
        DataError, match=r"other\.safetensors: .* missing down\.0\.conv1\.weight .* unexpected"
    ):
        load_weights(model, path)
    with pytest.raises(DataError, match=r"other\.safetensors: .* classifier\.4\.bias must have shape \(4,\)"):
        load_weights(models.CNN(8, classes=4), path)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_missing_and_damaged_files_are_named(tmp_path, model):
    with pytest.raises(DataError, match=r"model\.json: no such file"):
        load_model(tmp_path)
    save_model(model, tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    for content in (b"", weights[:100], weights[:-10], b"\x80\x04pickle"):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(DataError, match=r"model\.safetensors: "):
            load_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model\.safetensors: no such file"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(weights)
    for text in ("{", "[" * 100000, "\udcff"):
        (tmp_path / "model.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(DataError, match=r"model\.json: not JSON"):
            load_model(tmp_path)
