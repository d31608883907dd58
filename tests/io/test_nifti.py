import gzip

import numpy as np
import pytest

from medkern.io import DataError
from medkern.io.nifti import nifti_shape, read_nifti, read_nifti_mask, write_nifti_mask

nibabel = pytest.importorskip("nibabel")

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0.5, -126], [0, -0.5, 2, -72], [0, 0, 0, 1]])


def save(path, values, kind=nibabel.Nifti1Image):
    nibabel.save(kind(values, AFFINE), path)
    return path


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_mask_lies_where_its_image_lies(tmp_path, rng, name, kind):
    values = rng.normal(size=(5, 6, 7)).astype(np.float32)
    source = save(tmp_path / name, values, kind)
    assert nifti_shape(source) == (5, 6, 7)
    np.testing.assert_array_equal(read_nifti(source), values)
    labels = rng.integers(0, 3, (5, 6, 7))
    write_nifti_mask(tmp_path / "m.nii.gz", labels, source)
    np.testing.assert_array_equal(read_nifti_mask(tmp_path / "m.nii.gz"), labels)
    written = nibabel.load(tmp_path / "m.nii.gz")
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-6)
    assert written.get_data_dtype() == np.uint8
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["m.nii.gz", name])


def test_scaled_voxels_are_read_as_scaled(tmp_path):
    image = nibabel.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), AFFINE)
    image.header.set_slope_inter(0.5, 10)
    nibabel.save(image, tmp_path / "v.nii")
    np.testing.assert_allclose(read_nifti(tmp_path / "v.nii").ravel(), np.arange(8) * 0.5 + 10)
    write_nifti_mask(tmp_path / "m.nii", np.full((2, 2, 2), 2), tmp_path / "v.nii")
    np.testing.assert_array_equal(read_nifti_mask(tmp_path / "m.nii"), 2)


def test_a_trailing_axis_of_one_is_dropped(tmp_path):
    save(tmp_path / "v.nii", np.zeros((2, 3, 4, 1), np.float32))
    assert read_nifti(tmp_path / "v.nii").shape == (2, 3, 4)
    write_nifti_mask(tmp_path / "m.nii", np.ones((2, 3, 4), np.int64), tmp_path / "v.nii")
    assert read_nifti_mask(tmp_path / "m.nii").shape == (2, 3, 4)


def test_unreadable_files_are_named(tmp_path):
    path = tmp_path / "v.nii"
    with pytest.raises(FileNotFoundError):
        read_nifti(path)
    for content in (b"", bytes(400)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"v\.nii: can't be read as NIfTI"):
            read_nifti(path)
    save(path, np.zeros((2, 3, 4, 5), np.float32))
    with pytest.raises(DataError, match=r"must have 3 dimensions, got 4: \(2, 3, 4, 5\)"):
        read_nifti(path)
    save(path, np.full((2, 2, 2), np.nan, np.float32))
    with pytest.raises(DataError, match="not finite"):
        read_nifti(path)
    save(path, np.full((2, 2, 2), 0.5, np.float32))
    with pytest.raises(DataError, match="whole numbers"):
        read_nifti_mask(path)
    save(path, np.zeros((2, 2, 2), np.complex64))
    with pytest.raises(DataError, match="real numbers, got complex64"):
        read_nifti(path)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
@pytest.mark.parametrize(
    "shape,message",
    [
        ((30000, 30000, 30000), "more than"),
        ((600, 600, 600), "too short"),
        ((-5, 4, 4), "can't be read|at least"),
    ],
)
def test_sizes_in_the_header_are_checked_before_memory_is_taken(tmp_path, name, shape, message):
    content = bytearray(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), AFFINE).to_bytes())
    content[42:48] = np.array(shape, "<i2").tobytes()  # dim[1..3] of the header
    (tmp_path / name).write_bytes(gzip.compress(bytes(content)) if name.endswith("gz") else content)
    with pytest.raises(DataError, match=message):
        read_nifti(tmp_path / name)


def test_bad_labels_are_named(tmp_path):
    source = save(tmp_path / "v.nii", np.zeros((2, 2, 2), np.float32))
    with pytest.raises(ValueError, match=r"labels must have the shape of .*v\.nii, \(2, 2, 2\), got"):
        write_nifti_mask(tmp_path / "m.nii", np.zeros((2, 2, 3), np.int64), source)
    with pytest.raises(ValueError, match="fit 32 bits"):
        write_nifti_mask(tmp_path / "m.nii", np.full((2, 2, 2), 2**40), source)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_a_file_that_was_cut_off_is_named_by_its_header_alone(tmp_path, rng, name):
    whole = save(tmp_path / name, rng.normal(size=(8, 9, 10)).astype(np.float32)).read_bytes()
    for length in (len(whole) * 2 // 3, len(whole) - 20):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(
            DataError, match=rf"{name}: its header says \(8, 9, 10\) float32, but .* too short"
        ):
            nifti_shape(tmp_path / name)


def test_a_file_packed_in_parts_is_read(tmp_path, rng):
    values = rng.normal(size=(8, 9, 10)).astype(np.float32)
    plain = save(tmp_path / "v.nii", values).read_bytes()
    parts = [gzip.compress(plain[:500]), gzip.compress(plain[500:] + b"behind"), gzip.compress(b"")]
    (tmp_path / "w.nii.gz").write_bytes(b"".join(parts))
    np.testing.assert_array_equal(read_nifti(tmp_path / "w.nii.gz"), values)
