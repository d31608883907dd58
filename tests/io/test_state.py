import json

import numpy as np
import pytest

import medkern
from medkern.io import DataError, files
from medkern.io.state import load_state, save_state


def test_a_nested_state_comes_back(tmp_path, rng):
    values = rng.standard_normal((3, 4)).astype(np.float32)
    state = {
        "values": values,
        "turned": values.T,
        "tensor": medkern.tensor(values),
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 2)),
        "list": [1, 2.5, None, True, "text", {"deep": np.arange(3)}],
        "inf": float("inf"),
        "number": np.float64(0.1),
        "numbered": {0: "a", 1: "b"},
    }
    save_state(tmp_path / "s.safetensors", state)
    back = load_state(tmp_path / "s.safetensors")
    np.testing.assert_array_equal(back["values"], values)
    np.testing.assert_array_equal(back["turned"], values.T)
    np.testing.assert_array_equal(back["tensor"], values)
    assert back["scalar"].shape == () and back["scalar"] == 3.5
    assert back["empty"].shape == (0, 2)
    assert back["list"][:5] == [1, 2.5, None, True, "text"]
    np.testing.assert_array_equal(back["list"][5]["deep"], np.arange(3))
    assert back["inf"] == float("inf") and back["number"] == 0.1
    assert back["numbered"] == {"0": "a", "1": "b"}


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(TypeError, match="can't write a set"):
        save_state(tmp_path / "s.safetensors", {"a": {1}})
    with pytest.raises(TypeError, match="keys must be strings or ints"):
        save_state(tmp_path / "s.safetensors", {1.5: 2})
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_named(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "s.safetensors"
    with pytest.raises(FileNotFoundError):
        load_state(path)
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(DataError, match="can't be read as a checkpoint"):
        load_state(path)
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(DataError, match="not a checkpoint of medkern"):
        load_state(path)
    save_file({"a": np.zeros(3)}, path, metadata={"medkern": json.dumps({"x": {"$tensor": "b"}})})
    with pytest.raises(DataError, match="can't be read as a checkpoint"):
        load_state(path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_sizes_are_bounded():
    files.check_size("x", (2**14, 2**14))
    with pytest.raises(DataError, match=r"x: its header says .* more than"):
        files.check_size("x", (2**14, 2**14, 2))
    with pytest.raises(DataError, match="at least 1"):
        files.check_size("x", (4, 0))
