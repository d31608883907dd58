import io
import zipfile

import numpy as np
import pytest

from medkern.io.files import DataError
from medkern.io.npz import read_npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back(tmp_path, rng, save):
    arrays = {
        "images": rng.integers(0, 255, (3, 4, 5), np.uint8),
        "labels": rng.integers(0, 9, (3, 1)),
        "fortran": np.asfortranarray(rng.random((2, 3, 4))),
        "scalar": np.float32(3),
        "empty": np.zeros((0, 3)),
        "big": np.arange(3, dtype=">i4"),
        "mask": np.array([True, False]),
    }
    save(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].shape == array.shape and found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        found[name][...] = 0  # writable


def with_member(path, name, data):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, data)
    return path


def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match=r"a.npz: x.npy must hold numbers or booleans, got object"):
        read_npz(tmp_path / "a.npz")


def test_sizes_are_bounded_before_memory_is_asked_for(tmp_path):
    header = npy(np.zeros((4, 4), np.float32)).replace(b"(4, 4)", b"(1 << 9,)"[:6])
    huge = npy(np.zeros((4, 4), np.float32)).replace(b"(4, 4), }        ", b"(99999, 99999), }")
    path = with_member(tmp_path / "huge.npz", "x.npy", huge)
    with pytest.raises(DataError, match=r"x.npy says \(99999, 99999\), more than"):
        read_npz(path)
    with pytest.raises(DataError, match=r"x.npy is no array"):
        read_npz(with_member(tmp_path / "odd.npz", "x.npy", header))


def test_broken_files_are_named(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"a.npz: can't be read as .npz"):
        read_npz(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"none.npz: can't be read as .npz"):
        read_npz(tmp_path / "none.npz")
    with pytest.raises(DataError, match=r"b.npz: x.txt is no array"):
        read_npz(with_member(tmp_path / "b.npz", "x.txt", "text"))
    whole = npy(np.zeros((4, 4), np.float32))
    for data in (whole[:-1], whole + b"0"):
        with pytest.raises(DataError, match=r"c.npz: x.npy doesn't hold the \(4, 4\) elements it says"):
            read_npz(with_member(tmp_path / "c.npz", "x.npy", data))
