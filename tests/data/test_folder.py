import numpy as np
import pytest

from medkern.data import folder, normalize
from medkern.io import DataError

pillow = pytest.importorskip("PIL.Image")
nibabel = pytest.importorskip("nibabel")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    else:
        pillow.fromarray(array).save(path)
    return path


def image(*shape):
    return np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)


def mask(*shape):
    return (image(*shape) % 3 == 0).astype(np.uint8) * 255


@pytest.fixture
def data(tmp_path):
    for name, suffix, shape in [("a", ".png", (20, 17)), ("b", ".tif", (16, 30))]:
        save(tmp_path / "images" / (name + suffix), image(*shape))
        save(tmp_path / "masks" / (name + ".png"), mask(*shape))
    return tmp_path


def test_images_and_masks_match_by_name(data):
    (data / "images" / ".hidden").write_text("")
    pairs = folder.find_pairs(data)
    assert [(p.name, p.image.name, p.mask.name) for p in pairs] == [
        ("a", "a.png", "a.png"),
        ("b", "b.tif", "b.png"),
    ]
    labels = folder.find_labels(pairs)
    assert labels == (0, 255)
    cases = folder.read_cases(pairs, labels)
    assert [case.x.shape for case in cases] == [(1, 1, 20, 17), (1, 1, 16, 30)]
    np.testing.assert_array_equal(cases[0].y[0], mask(20, 17) // 255)
    dataset = folder.SliceDataset(cases, 16)
    assert len(dataset) == 2
    for x, y in dataset:
        assert x.shape == (1, 32, 32) and x.dtype == np.float32
        assert y.shape == (32, 32) and y.dtype == np.int64


def test_volumes_become_slices_along_the_third_axis(tmp_path):
    volume = image(9, 8, 3).astype(np.int16)
    save(tmp_path / "images" / "v.nii.gz", volume)
    save(tmp_path / "masks" / "v.nii", (volume > 100).astype(np.uint8))
    pairs = folder.find_pairs(tmp_path)
    case = folder.read_case(pairs[0], folder.find_labels(pairs))
    assert case.x.shape == (3, 1, 9, 8) and case.y.shape == (3, 9, 8)
    np.testing.assert_array_equal(case.y[2], volume[:, :, 2] > 100)
    np.testing.assert_array_equal(case.x[1, 0], normalize(volume[None])[0, :, :, 1])


def test_color_images_have_three_channels(data):
    save(data / "images" / "c.png", image(8, 8, 3))
    save(data / "masks" / "c.png", mask(8, 8))
    pairs = folder.find_pairs(data)
    assert folder.read_case(pairs[2], (0, 255)).x.shape == (1, 3, 8, 8)
    with pytest.raises(DataError, match=r"c\.png: has 3 channels, expected 1"):
        folder.read_cases(pairs, (0, 255))


def test_what_is_wrong_with_a_folder_is_said_in_one_line(data):
    def expect(message):
        with pytest.raises(DataError, match=message) as caught:
            folder.find_pairs(data)
        assert "\n" not in str(caught.value)

    extra = save(data / "images" / "c.png", image(8, 8))
    expect(r"images/c\.png: has no mask of that name")
    extra.rename(data / "masks" / "c.png")
    expect(r"masks/c\.png: has no image of that name")
    save(data / "images" / "c.png", image(8, 9))
    expect(r"masks/c\.png: is 8 x 8, but its image .*images/c\.png is 8 x 9")
    (data / "images" / "c.png").write_bytes(b"not a picture")
    expect(r"images/c\.png: can't be read as PNG or TIFF")
    (data / "images" / "c.png").unlink()
    save(data / "images" / "c.nii", image(8, 8, 1))
    expect(r"masks/c\.png: an image and its mask must both be NIfTI or neither")
    save(data / "images" / "c.tif", image(8, 8))
    expect(r"images/c\.tif: has the same name as .*c\.nii")
    (data / "images" / "notes.txt").write_text("")
    (data / "images" / "c.tif").unlink()
    expect(r"images/notes\.txt: not a file that ends in")


def test_missing_or_empty_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        folder.find_pairs(tmp_path / "nowhere")
    with pytest.raises(DataError, match="images: no such folder"):
        folder.find_pairs(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="images: holds no file"):
        folder.find_pairs(tmp_path)


def test_unexpected_labels_are_named(data):
    pairs = folder.find_pairs(data)
    with pytest.raises(DataError, match=r"a\.png: holds the label 255; expected 0, 1"):
        folder.read_case(pairs[0], (0, 1))
    with pytest.raises(DataError, match=r"a\.png: holds the label 0; expected 1, 255"):
        folder.read_case(pairs[0], (1, 255))
    save(data / "masks" / "a.png", image(20, 17))
    with pytest.raises(DataError, match=r"masks/a\.png: holds 256 different labels"):
        folder.find_labels(pairs)
    for name, shape in (("a", (20, 17)), ("b", (16, 30))):
        save(data / "masks" / f"{name}.png", np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match="masks: all masks hold the one label 0"):
        folder.find_labels(pairs)


def test_a_folder_too_large_for_memory_is_refused(data, monkeypatch):
    monkeypatch.setattr(folder, "MAX_TOTAL", 500)
    with pytest.raises(DataError, match="holds 820 pixels; at most 500"):
        folder.find_pairs(data)
