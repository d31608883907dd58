import numpy as np
import pytest

from medkern.data import ImageFolder, VolumePairs, npz_dataset
from medkern.data.folder import find_labels, find_pairs
from medkern.io.files import DataError

Image = pytest.importorskip("PIL.Image")


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def test_class_folders(tmp_path, rng):
    gray = rng.integers(0, 256, (6, 8), dtype=np.uint8)
    color = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    write(tmp_path / "well" / "b.png", gray)
    write(tmp_path / "ill" / "a.png", color)
    write(tmp_path / "ill" / "c.tif", gray)
    data = ImageFolder(tmp_path, (6, 8), channels=3)
    assert data.classes == ["ill", "well"] and data.labels.tolist() == [0, 0, 1] and len(data) == 3
    assert [p.name for p in data.files] == ["a.png", "c.tif", "b.png"]
    for x, _ in data:
        assert x.shape == (3, 6, 8) and x.dtype == np.float32 and 0 <= x.min() <= x.max() <= 1
    x, y = data[2]
    np.testing.assert_allclose(x, np.stack([gray] * 3) / 255, rtol=1e-6)
    assert y == 1
    x, _ = ImageFolder(tmp_path, (9, 7), scale=1)[0]
    np.testing.assert_allclose(x[0], color @ [0.299, 0.587, 0.114], rtol=1e-5)


def test_folders_that_do_not_fit_are_named(tmp_path, rng):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        ImageFolder(tmp_path / "nowhere", 8)
    write(tmp_path / "ill" / "a.png", rng.integers(0, 256, (6, 8), dtype=np.uint8))
    with pytest.raises(DataError, match="holds 1 folders, one for each of 2 or more classes"):
        ImageFolder(tmp_path, 8)
    (tmp_path / "well").mkdir()
    with pytest.raises(DataError, match="well: the class has no sample"):
        ImageFolder(tmp_path, 8)
    (tmp_path / "well" / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b\.png: can't be read as PNG or TIFF"):
        ImageFolder(tmp_path, 8)
    (tmp_path / "well" / "b.png").unlink()
    for name in ("c.png", "d.tif"):
        path = tmp_path / "well" / name
        write(path, rng.integers(0, 256, (60, 80), dtype=np.uint8))
        ImageFolder(tmp_path, 8)
        path.write_bytes(path.read_bytes()[:3000])  # a header that is well, and half of the pixels
        with pytest.raises(DataError, match=rf"{name}: can't be read as PNG or TIFF"):
            ImageFolder(tmp_path, 8)
        path.unlink()
    with pytest.raises(ValueError, match="channels must be 1 or 3, got 2"):
        ImageFolder(tmp_path, 8, channels=2)


def test_volumes_and_their_masks(tmp_path, rng):
    nibabel = pytest.importorskip("nibabel")
    volume, mask = (
        rng.normal(0, 1, (4, 5, 6)).astype(np.float32),
        rng.choice([0, 3], (4, 5, 6)).astype(np.uint8),
    )
    for folder, values in (("images", volume), ("masks", mask)):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / folder / "a.nii.gz")
    pairs = find_pairs(tmp_path)
    x, y = VolumePairs(pairs, find_labels(pairs))[0]
    assert x.shape == (1, 6, 4, 5) and y.dtype == np.int64
    np.testing.assert_array_equal(x[0], volume.transpose(2, 0, 1))
    np.testing.assert_array_equal(y, mask.transpose(2, 0, 1) // 3)
    with pytest.raises(DataError, match=r"a\.nii\.gz: holds the label 3; expected 0, 1"):
        VolumePairs(pairs, (0, 1))[0]


def test_arrays_of_a_file(tmp_path):
    np.savez(
        tmp_path / "a.npz", x=np.ones((3, 2)), y=np.arange(3), short=np.zeros(2), bad=np.full((3, 1), np.nan)
    )
    data = npz_dataset(tmp_path / "a.npz")
    assert len(data) == 3 and data[1][1] == 1
    for names, message in (
        (("x", "z"), r"a\.npz: has no array 'z', only bad, short, x, y"),
        (("x", "short"), r"a\.npz: .* same length, got 3 and 2"),
        (("bad", "y"), r"a\.npz: .* x of sample 0 holds NaN"),
    ):
        with pytest.raises(DataError, match=message):
            npz_dataset(tmp_path / "a.npz", *names)
