import json
import subprocess
import sys

import numpy as np
import pytest

import medkern
from medkern import models
from medkern.cli import main
from medkern.data.folder import read_slices
from medkern.io.weights import save_model
from medkern.segmentation import Segmenter

pillow = pytest.importorskip("PIL.Image")
nibabel = pytest.importorskip("nibabel")
pytest.importorskip("matplotlib")


def squares(rng, shape):
    """A noisy image with bright squares of label 255."""
    labels = np.zeros(shape, np.uint8)
    for _ in range(3):
        a, b = (rng.integers(0, size - 10) for size in shape[:2])
        labels[a : a + 10, b : b + 10] = 255
    return (rng.normal(80, 10, shape) + 0.3 * labels).clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four PNG pairs."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for i in range(4):
        image, labels = squares(rng, (40, 36))
        pillow.fromarray(image).save(folder / "images" / f"case{i}.png")
        pillow.fromarray(labels).save(folder / "masks" / f"case{i}.png")
    return folder


SMALL = ["--filters", "4", "--epochs", "20", "--batch-size", "1", "--lr", "0.01", "--json"]


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "--data", str(data), "-o", str(folder), *SMALL]) == 0
    return folder


def test_train_fills_the_run_folder(trained):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "checkpoint.safetensors",
        "curves.png",
        "metrics.json",
        "model.json",
        "model.safetensors",
        "overlays.png",
    }
    result = json.loads((trained / "metrics.json").read_text())
    assert result["classes"]["label 255"]["dice"] > 0.8
    assert len(result["history"]) == 20 and len(result["files"]) == 1
    for name in ("curves.png", "overlays.png"):
        with pillow.open(trained / name) as image:
            assert min(image.size) > 200


def test_the_same_command_gives_the_same_model(data, trained, tmp_path, capsys):
    assert main(["train", "--data", str(data), "-o", str(tmp_path), *SMALL]) == 0
    assert (tmp_path / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    printed = json.loads(capsys.readouterr().out)
    assert printed["classes"] == json.loads((trained / "metrics.json").read_text())["classes"]


def test_a_resumed_run_gives_the_same_model(data, trained, tmp_path, monkeypatch):
    from medkern import callbacks

    def killed(self, trainer, record):
        if record["epoch"] == 14:
            raise KeyboardInterrupt
        original(self, trainer, record)

    original = callbacks.BestWeights.on_epoch_end
    command = ["train", "--data", str(data), "-o", str(tmp_path), *SMALL]
    monkeypatch.setattr(callbacks.BestWeights, "on_epoch_end", killed)
    assert main(command) == 130
    monkeypatch.undo()
    assert main([*command, "--resume"]) == 0
    assert (tmp_path / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_evaluate_agrees_with_train_and_reports_each_file(data, trained, capsys):
    assert main(["evaluate", str(trained), "--data", str(data), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    ended = json.loads((trained / "metrics.json").read_text())
    assert sorted(result["files"]) == ["case0", "case1", "case2", "case3"]
    for name, values in ended["files"].items():
        assert result["files"][name] == values
    assert main(["evaluate", str(trained), "--data", str(data)]) == 0
    text = capsys.readouterr().out
    assert "label 255" in text and "precision" in text and "over 4 files" in text


def test_predict_labels_a_file_or_a_folder(data, trained, tmp_path, capsys):
    source = data / "images" / "case0.png"
    assert main(["predict", str(trained), str(source), "-o", str(tmp_path / "one.png")]) == 0
    assert "label 255" in capsys.readouterr().out
    found = np.asarray(pillow.open(tmp_path / "one.png"))
    truth = np.asarray(pillow.open(data / "masks" / "case0.png"))
    assert found.shape == truth.shape and set(np.unique(found)) == {0, 255}
    assert (found == truth).mean() > 0.9
    output = tmp_path / "masks"
    assert main(["predict", str(trained), str(data / "images"), "-o", str(output), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["files"]) == 4
    np.testing.assert_array_equal(np.asarray(pillow.open(output / "case0.png")), found)


def test_predict_keeps_the_place_of_a_volume(trained, tmp_path):
    rng = np.random.default_rng(1)
    image, _ = squares(rng, (30, 28, 5))
    affine = np.diag([2.0, 3, 4, 1])
    nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "v.nii.gz")
    assert main(["predict", str(trained), str(tmp_path / "v.nii.gz"), "-o", str(tmp_path / "out")]) == 0
    mask = nibabel.load(tmp_path / "out" / "v.nii.gz")
    np.testing.assert_array_equal(mask.affine, affine)
    assert mask.shape == (30, 28, 5)
    classes = Segmenter.load(trained).predict(read_slices(tmp_path / "v.nii.gz"))
    assert 0.02 < classes.mean() < 0.98
    np.testing.assert_array_equal(np.asarray(mask.dataobj).transpose(2, 0, 1), 255 * classes)


def test_volumes_can_be_trained_on(tmp_path):
    rng = np.random.default_rng(2)
    for i in range(2):
        for kind, values in zip(("images", "masks"), squares(rng, (20, 18, 4)), strict=True):
            (tmp_path / kind).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / kind / f"v{i}.nii.gz")
    run = tmp_path / "run"
    assert main(["train", "--data", str(tmp_path), "-o", str(run), *SMALL, "--epochs", "1"]) == 0
    assert (run / "overlays.png").stat().st_size > 5000


def test_info_summarizes_a_model(tmp_path, capsys):
    save_model(models.UNet(filters=(4, 8)), tmp_path)
    arguments = ["info", "--model", str(tmp_path), "--shape", "1", "1", "16", "16"]
    assert main([*arguments, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["model"] == "UNet" and data["layers"][0]["shape"] == [1, 4, 16, 16]
    assert main(arguments) == 0
    assert "down.0.conv1  Conv2d" in capsys.readouterr().out
    assert main([*arguments[:-1], "15"]) == 2
    assert "--shape: UNet: every spatial size must be a multiple of 2" in capsys.readouterr().err
    assert main(arguments[:3]) == 2
    assert "--model and --shape go together" in capsys.readouterr().err


def test_info_tells_what_was_chosen(capsys):
    assert main(["info", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["version"] == medkern.__version__
    sets = result["instruction_sets"]
    assert sets["chosen"] in sets["usable"] and "portable" in sets["built"]
    assert result["threads"] == medkern.get_num_threads()
    assert main(["info"]) == 0
    assert f"chosen: {sets['chosen']}" in capsys.readouterr().out


def test_the_module_and_help_can_be_run():
    result = subprocess.run([sys.executable, "-m", "medkern", "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    for command in ("train", "predict", "evaluate", "info", "bench"):
        assert command in result.stdout


@pytest.mark.parametrize(
    "words,message",
    [
        (["train", "--data", "nowhere"], "nowhere: no such folder"),
        (["predict", "nowhere", "x.png", "-o", "y.png"], "x.png: no such file or folder"),
        (["evaluate", "nowhere", "--data", "."], "nowhere/model.json: no such file"),
    ],
)
def test_bad_input_is_one_line_and_code_2(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"medkern {words[0]}: error: {message}") and error.count("\n") == 1


def test_more_bad_input(data, trained, tmp_path, capsys):
    def error(*words):
        assert main([str(word) for word in words]) == 2
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return text

    image = data / "images" / "case0.png"
    assert "would overwrite the image itself" in error("predict", trained, image, "-o", data / "images")
    assert "gives a NIfTI mask and an image a PNG" in error(
        "predict", trained, image, "-o", tmp_path / "x.nii"
    )
    (tmp_path / "file.png").write_text("")
    assert "must be a folder" in error("predict", trained, data / "images", "-o", tmp_path / "file.png")
    color = tmp_path / "color.png"
    pillow.fromarray(np.zeros((8, 8, 3), np.uint8)).save(color)
    assert "has 3 channels, the model expects 1" in error("predict", trained, color, "-o", tmp_path / "o.png")
    (tmp_path / "model.json").write_text((trained / "model.json").read_text().replace("labels", "lables"))
    (tmp_path / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    assert "does not describe a segmentation model" in error("evaluate", tmp_path, "--data", data)
    single = tmp_path / "single"
    for kind in ("images", "masks"):
        (single / kind).mkdir(parents=True)
        (single / kind / "a.png").write_bytes((data / kind / "case0.png").read_bytes())
    assert "needs at least 2 images" in error("train", "--data", single, "-o", tmp_path / "run")


@pytest.mark.parametrize(
    "words,message",
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice"),
        (["train"], "--demo"),
        (["train", "--demo", "--epochs", "0"], "must be from 1 to 100000, got 0"),
        (["train", "--demo", "--epochs", "many"], "must be a whole number, got 'many'"),
        (["train", "--demo", "--lr", "nan"], "must be between 0 and 10, got nan"),
        (["train", "--demo", "--lr", "x"], "must be a number, got 'x'"),
    ],
)
def test_bad_arguments_are_named(words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_bench_gets_the_other_words(monkeypatch):
    from types import SimpleNamespace

    seen = []
    module = SimpleNamespace(main=lambda words: seen.append(words) or 0)
    monkeypatch.setitem(sys.modules, "medkern.bench.__main__", module)
    assert main(["bench", "--json", "pool"]) == 0
    assert seen == [["--json", "pool"]]
