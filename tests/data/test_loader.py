import numpy as np
import pytest

from medkern.data import ArrayDataset, DataLoader, Dataset


def numbered(count):
    x = np.arange(count, dtype=np.float32).reshape(count, 1)
    return ArrayDataset(x, np.arange(count))


def order(loader):
    return [int(value) for _, y in loader for value in y]


def test_batches_come_in_order_and_the_last_is_short():
    loader = DataLoader(numbered(7), batch_size=3)
    assert [y.tolist() for _, y in loader] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(loader) == 3
    assert [x.shape for x, _ in loader] == [(3, 1), (3, 1), (1, 1)]


def test_drop_last_leaves_out_a_short_batch_only():
    assert [len(y) for _, y in DataLoader(numbered(7), 3, drop_last=True)] == [3, 3]
    assert len(DataLoader(numbered(7), 3, drop_last=True)) == 2
    assert len(DataLoader(numbered(6), 3, drop_last=True)) == 2


def test_shuffling_depends_on_seed_and_epoch_alone():
    loader, again = (DataLoader(numbered(50), 8, shuffle=True, seed=4) for _ in range(2))
    first, second = order(loader), order(loader)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second and first != list(range(50))
    assert [order(again), order(again)] == [first, second]
    assert order(DataLoader(numbered(50), 8, shuffle=True, seed=5)) != first


def test_a_loader_goes_on_from_the_state_of_another():
    def noisy(x, y, rng):
        return x + rng.random(), y

    loader = DataLoader(numbered(20), 4, shuffle=True, seed=1, augment=noisy)
    order(loader)
    state = loader.state_dict()
    expected = list(loader)
    other = DataLoader(numbered(20), 4, shuffle=True, seed=99, augment=noisy)
    other.load_state_dict(state)
    for (x, y), (x2, y2) in zip(expected, other, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)


def test_augmentation_does_not_depend_on_the_batch_size():
    def noisy(x, y, rng):
        return x + rng.random(), y

    def values(batch_size):
        return np.concatenate([x for x, _ in DataLoader(numbered(9), batch_size, augment=noisy)])

    np.testing.assert_array_equal(values(2), values(9))


def test_a_list_of_pairs_is_a_dataset():
    pairs = [(np.zeros(2, np.float32), np.array(i)) for i in range(3)]
    assert isinstance(pairs, Dataset)
    assert order(DataLoader(pairs, 2)) == [0, 1, 2]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        DataLoader(numbered(3), 0)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        DataLoader(numbered(3), seed=-1)
    with pytest.raises(ValueError, match="same length, got 2 and 3"):
        ArrayDataset(np.zeros((2, 1)), np.zeros(3))
    with pytest.raises(ValueError, match="at least 1 dimension"):
        ArrayDataset(np.zeros(()), np.zeros(3))
    uneven = [(np.zeros((1, size), np.float32), np.zeros(size)) for size in (4, 5)]
    with pytest.raises(ValueError, match=r"x of sample 1 must be \(1, 4\) float32 like sample 0"):
        list(DataLoader(uneven, 2))
