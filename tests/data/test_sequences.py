import numpy as np
import pytest

from medkern.data.sequences import PartsLoader, pad_sequences


def test_sequences_are_filled_up():
    x, lengths = pad_sequences([np.ones((2, 3), np.float32), np.full((4, 3), 2, np.float32)], fill=-1)
    assert x.shape == (2, 4, 3) and x.dtype == np.float32 and lengths.tolist() == [2, 4]
    assert (x[0, :2] == 1).all() and (x[0, 2:] == -1).all() and (x[1] == 2).all()


def test_batches_have_all_parts_of_their_samples():
    x, lengths, y = np.arange(14).reshape(7, 2), np.ones(7, np.int64), np.arange(7)
    loader = PartsLoader((x, lengths), y, 3, shuffle=True, seed=4, lengths=1)
    assert len(loader) == 3
    orders = []
    for _ in range(2):
        seen = []
        for (part, count), target in loader:
            assert part.shape[1] == 1  # no sequence of the batch is longer
            np.testing.assert_array_equal(part[:, 0], 2 * target)
            assert len(count) == len(target)
            seen += target.tolist()
        assert sorted(seen) == list(range(7))
        orders.append(seen)
    assert orders[0] != orders[1]
    other = PartsLoader((x, lengths), y, 3, shuffle=True, lengths=1)
    other.load_state_dict({**loader.state_dict(), "epoch": 1})
    assert [t for _, target in other for t in target.tolist()] == orders[1]


def test_bad_arguments_are_named():
    x, y = np.zeros((3, 5, 2)), np.zeros(3, int)
    with pytest.raises(
        ValueError, match="lengths must be from 1 to 5, the steps there are, got 6 for sample 1"
    ):
        PartsLoader((x, np.array([5, 6, 1])), y, lengths=1)
    with pytest.raises(ValueError, match="got 0 for sample 2"):
        PartsLoader((x, np.array([5, 5, 0])), y, lengths=1)
    with pytest.raises(ValueError, match="lengths must be integers"):
        PartsLoader((x, np.ones(3)), y, lengths=1)
    with pytest.raises(ValueError, match=r"x and y must have one length, at least 1, got \[3, 2, 3\]"):
        PartsLoader((x, np.ones(2)), y)
    with pytest.raises(ValueError, match="batch_size >= 1"):
        PartsLoader((x,), y, 0)
    with pytest.raises(ValueError, match="sequence 1 must have at least one step"):
        pad_sequences([np.zeros((2, 1)), np.zeros((0, 1))])
    with pytest.raises(ValueError, match=r"sequence 1 must be \(T, 1\) float64 like the first"):
        pad_sequences([np.zeros((2, 1)), np.zeros((2, 2))])
    with pytest.raises(ValueError, match="at least one sequence"):
        pad_sequences([])
