import sys

import numpy as np
import pytest

from medkern import plot

pillow = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")


def pixels(path):
    with pillow.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def near(picture, color):
    """How many pixels have about this color."""
    return (np.abs(picture - color).max(axis=2) < 12).sum()


def test_learning_curves_are_drawn(tmp_path):
    history = [
        {"epoch": i, "loss": 1 / i, "val_loss": 1.1 / i, "val_dice": 0.5, "val_dice lesion": 1 - 1 / i}
        for i in range(1, 6)
    ]
    plot.learning_curves(history, tmp_path / "a.png", {"rule": 0.6})
    picture = pixels(tmp_path / "a.png")
    assert near(picture, (0x4F, 0xA3, 0xFF)) > 200  # the class's curve and its rule
    plot.learning_curves([{"epoch": 1, "loss": 1.0}], tmp_path / "b.png")
    assert pixels(tmp_path / "b.png").shape == picture.shape


def test_overlays_show_truth_prediction_and_differences(tmp_path):
    image = np.full((20, 30), 100.0)
    image[0] = 0
    truth = np.zeros((20, 30), int)
    truth[5:15, 5:15] = 1
    prediction = np.roll(truth, 5, axis=1)
    plot.overlays([image], [truth], [prediction], ["background", "lesion"], tmp_path / "a.png", ["case"])
    picture = pixels(tmp_path / "a.png")
    # White under half of the class's color, in the second and in the third panel only.
    quarter = picture.shape[1] // 4
    blue = [near(picture[:, i * quarter : (i + 1) * quarter], (0xA7, 0xD1, 0xFF)) for i in range(4)]
    assert blue[1] > 1000 and blue[2] > 1000 and blue[0] == blue[3] == 0
    red = [near(picture[:, i * quarter : (i + 1) * quarter], (0xF4, 0xA0, 0x9D)) for i in range(4)]
    assert red[3] > 1000 and red[:3] == [0, 0, 0]


@pytest.mark.parametrize("rank", [2, 3])
def test_heatmaps_lie_over_their_images(tmp_path, rank):
    image = np.full((6, 20, 30)[-rank:], 0.5)
    image[..., 0, 0], image[..., 0, 1] = 0, 1
    heat = np.zeros(image.shape)
    heat[..., 5:15, 20:28] = -1  # what speaks against isn't shown
    if rank == 3:
        heat[4, 5:15, 5:15] = 2  # this slice is drawn
    else:
        heat[5:15, 5:15] = 2
    plot.heatmaps([image], [[heat, np.zeros(image.shape)]], ["one", "none"], tmp_path / "a.png", ["case"])
    picture = pixels(tmp_path / "a.png")
    third = picture.shape[1] // 3
    yellow = (picture[..., 0] > 200) & (picture[..., 2] < 200)  # the upper end of inferno
    found = [yellow[:, i * third : (i + 1) * third].sum() for i in range(3)]
    assert found[1] > 3000 and found[0] == found[2] == 0
    with pytest.raises(ValueError, match=r"heatmaps: image 0 must have 1 maps shaped like it"):
        plot.heatmaps([image], [[heat[:-1]]], ["one"], tmp_path / "b.png")
    with pytest.raises(ValueError, match="needs images and maps for each of them, got 1 and 0"):
        plot.heatmaps([image], [], ["one"], tmp_path / "b.png")


def test_the_same_plot_is_the_same_file_and_no_window_system_is_touched(tmp_path):
    history = [{"epoch": 1, "loss": 1.0, "val_loss": 2.0}]
    for name in ("a.png", "b.png"):
        plot.learning_curves(history, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert "matplotlib.pyplot" not in sys.modules


def test_a_grid_shows_every_image_in_one_scale(tmp_path):
    images = [np.full((8, 8), value) for value in (0.0, 1.0, 2.0, 0.0, 2.0)]
    plot.grid(images, tmp_path / "a.png", columns=3, titles=["a", "b", "c"])
    picture = pixels(tmp_path / "a.png")
    gray, black = near(picture, (128, 128, 128)), near(picture, (0, 0, 0))
    assert gray > 5000 and 1.8 < black / gray < 2.3  # one image of 1, two of 0 and the titles
    plot.grid(images, tmp_path / "b.png", columns=3, low=0, high=1)
    assert near(pixels(tmp_path / "b.png"), (128, 128, 128)) < gray / 10
    with pytest.raises(ValueError, match="at least one"):
        plot.grid([], tmp_path / "c.png")


def test_a_confusion_matrix_shows_shares(tmp_path):
    plot.confusion(np.array([[8, 0], [0, 8]]), ["a", "b"], tmp_path / "a.png")
    plot.confusion(np.array([[8, 0], [8, 0]]), ["a", "b"], tmp_path / "b.png")
    dark = [
        pixels(tmp_path / name)[:, : pixels(tmp_path / name).shape[1] // 2] for name in ("a.png", "b.png")
    ]
    blue = [near(picture, (8, 48, 107)) for picture in dark]  # what matplotlib's Blues ends with
    assert blue[1] > 1.6 * blue[0] > 0  # the left column holds all samples of both classes
    with pytest.raises(ValueError, match=r"confusion: counts must have shape \(2, 2\), got \(1, 2\)"):
        plot.confusion(np.zeros((1, 2)), ["a", "b"], tmp_path / "c.png")


def test_a_reliability_diagram_shows_how_sure_and_how_right(tmp_path):
    empty = np.nan
    good = np.array([empty, 0.7, 0.9]), np.array([empty, 0.7, 0.9]), np.array([0, 500, 500])
    over = np.array([empty, 0.7, 0.9]), np.array([empty, 0.2, 0.4]), np.array([0, 500, 500])
    for name, curve in (("good", good), ("over", over)):
        plot.reliability(*curve, tmp_path / f"{name}.png")
    blue = (
        np.abs(pixels(tmp_path / f"{name}.png") - (0x4F, 0xA3, 0xFF)).max(axis=2) < 12
        for name in ("good", "over")
    )
    # The curve is high up if the classifier is right, else further below; the legend is on the left.
    heights = [
        np.flatnonzero(part[: len(part) * 2 // 3, part.shape[1] * 3 // 5 :].any(axis=1))[0] for part in blue
    ]
    assert heights[1] > 1.5 * heights[0]
    with pytest.raises(ValueError, match="and 0 samples"):
        plot.reliability(good[0], good[1], np.zeros(3), tmp_path / "c.png")
    with pytest.raises(ValueError, match="three arrays of one length"):
        plot.reliability(good[0][1:], *good[1:], tmp_path / "c.png")


def test_rows_of_images_have_names_and_titles(tmp_path):
    black, white = np.zeros((8, 8)), np.ones((8, 8))
    plot.image_rows([[white, white], [white]], ["a", "b"], tmp_path / "a.png", limits=(0, 2))
    gray = near(pixels(tmp_path / "a.png"), (128, 128, 128))
    plot.image_rows([[white, white], [black]], ["a", "b"], tmp_path / "b.png", limits=(0, 2))
    assert near(pixels(tmp_path / "b.png"), (128, 128, 128)) == pytest.approx(gray * 2 / 3, rel=0.02)
    plot.image_rows([[white]], ["a"], tmp_path / "c.png", titles=[["one lesion"]])
    assert pixels(tmp_path / "c.png").shape[0] > 300
    with pytest.raises(ValueError, match="a name for each row of images, got 1 and 2"):
        plot.image_rows([[white]], ["a", "b"], tmp_path / "d.png")
