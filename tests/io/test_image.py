import struct
import zlib

import numpy as np
import pytest

from medkern.io import DataError
from medkern.io.image import image_shape, read_image, read_mask, write_mask

pillow = pytest.importorskip("PIL.Image")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grayscale_keeps_its_values(tmp_path, rng, dtype):
    values = (rng.random((5, 7)) * 60000).astype(dtype)
    path = tmp_path / "x.tif"
    pillow.fromarray(values).save(path)
    assert image_shape(path) == (5, 7)
    np.testing.assert_array_equal(read_image(path), values[None].astype(np.float32))


def test_color_comes_channels_first_and_alpha_is_dropped(tmp_path, rng):
    values = rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    pillow.fromarray(values).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), values[..., :3].transpose(2, 0, 1))
    pillow.fromarray(values[..., :2]).save(tmp_path / "y.png")
    np.testing.assert_array_equal(read_image(tmp_path / "y.png"), values[None, ..., 0])


def test_the_mask_of_a_palette_image_is_its_indices(tmp_path):
    values = np.array([[0, 1], [2, 1]], np.uint8)
    image = pillow.fromarray(values).convert("P")
    image = pillow.frombytes("P", (2, 2), values.tobytes())
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), values)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("high", [3, 255, 256, 65535])
def test_masks_come_back(tmp_path, suffix, high):
    labels = np.array([[0, 1, high], [high, 0, 2]])
    write_mask(tmp_path / f"m{suffix}", labels)
    np.testing.assert_array_equal(read_mask(tmp_path / f"m{suffix}"), labels)
    assert [path.name for path in tmp_path.iterdir()] == [f"m{suffix}"]


def test_bad_masks_are_named(tmp_path):
    with pytest.raises(ValueError, match="path must end in"):
        write_mask(tmp_path / "m.jpg", np.zeros((2, 2), np.int64))
    with pytest.raises(ValueError, match="from 0 to 65535, got -1"):
        write_mask(tmp_path / "m.png", np.full((2, 2), -1))
    with pytest.raises(ValueError, match="must have 2 dimensions, got 3"):
        write_mask(tmp_path / "m.png", np.zeros((2, 2, 2), np.int64))
    pillow.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(DataError, match=r"c\.png: a mask must have one channel, got mode RGB"):
        read_mask(tmp_path / "c.png")
    pillow.fromarray(np.full((2, 2), 0.5, np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(DataError, match=r"f\.tif: a mask must hold whole numbers"):
        read_mask(tmp_path / "f.tif")


def test_unreadable_files_are_named(tmp_path):
    path = tmp_path / "x.png"
    with pytest.raises(FileNotFoundError):
        read_image(path)
    for content in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(40)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.png: can't be read as PNG or TIFF"):
            read_image(path)
    pillow.fromarray(np.zeros((64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"x\.png: can't be read as PNG or TIFF"):
        read_image(path)
    pillow.fromarray(np.full((2, 2), np.nan, np.float32)).save(tmp_path / "n.tif")
    with pytest.raises(DataError, match=r"n\.tif: holds values that are not finite"):
        read_image(tmp_path / "n.tif")


def test_several_pages_are_refused(tmp_path):
    page = pillow.fromarray(np.zeros((4, 4), np.uint8))
    page.save(tmp_path / "x.tif", save_all=True, append_images=[page])
    with pytest.raises(DataError, match="holds 2 pages"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("side", [12000, 40000])  # where Pillow would warn, and where it would raise
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, side):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
    (tmp_path / "x.png").write_bytes(content + chunk(b"IEND", b""))
    for read in (image_shape, read_image):
        with pytest.raises(DataError, match="decompression bomb"):
            read(tmp_path / "x.png")
