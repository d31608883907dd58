import numpy as np
import pytest

from medkern.data import ArrayDataset, DataLoader, Dataset, class_weights


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


@pytest.mark.parametrize("options", [dict(shuffle=True), dict(weights=np.arange(30) % 7 + 0.5)])
def test_any_number_of_workers_gives_the_same_batches(options):
    def noisy(x, y, rng):
        return x + rng.random(), y

    def epochs(workers):
        loader = DataLoader(numbered(30), 4, seed=3, augment=noisy, workers=workers, **options)
        first = list(loader)
        again = DataLoader(numbered(30), 4, seed=9, augment=noisy, workers=workers, **options)
        again.load_state_dict(loader.state_dict())
        return np.concatenate([x for batches in (first, loader, again) for x, _ in batches]).tolist()

    expected = epochs(0)
    assert expected[30:60] == expected[60:] != expected[:30]
    assert epochs(1) == epochs(3) == expected


def test_workers_load_ahead_and_stop_with_the_loop():
    asked = []

    class Counting:
        def __len__(self):
            return 100

        def __getitem__(self, index):
            asked.append(index)
            return np.zeros(1, np.float32), np.int64(index)

    for _ in DataLoader(Counting(), 2, workers=2):
        break
    assert 2 <= len(asked) <= 8 and sorted(asked) == list(range(len(asked)))


def test_errors_of_workers_are_the_data_sets_own():
    class Broken(list):
        def __getitem__(self, index):
            if index == 5:
                raise ValueError("scan5.png: can't be read")
            return np.zeros(1, np.float32), np.int64(index)

    for workers in (0, 2):
        found = []
        with pytest.raises(ValueError, match=r"scan5.png: can't be read"):
            for _, y in DataLoader(Broken(range(8)), 2, workers=workers):
                found += y.tolist()
        assert found == [0, 1, 2, 3]


def test_weights_balance_classes():
    labels = np.array([0] * 95 + [1] * 5)
    data = ArrayDataset(np.zeros((100, 1), np.float32), labels)
    loader = DataLoader(data, 10, weights=class_weights(labels))
    counts = np.bincount([label for _ in range(20) for label in order(loader)], minlength=2)
    assert counts.sum() == 2000 and 850 < counts[1] < 1150  # 1000 +- 6.7 standard deviations of 22
    drawn = []
    for x, _ in DataLoader(
        data, 10, weights=class_weights(labels), augment=lambda x, y, rng: (x + rng.random(), y)
    ):
        drawn += x[:, 0].tolist()
    assert len(set(drawn)) == 100  # what comes twice is augmented anew


def test_bad_weights_and_workers_are_named():
    with pytest.raises(ValueError, match="workers must be at least 0, got -1"):
        DataLoader(numbered(3), workers=-1)
    with pytest.raises(ValueError, match=r"weights must have one number per sample, 3, got \(2,\)"):
        DataLoader(numbered(3), weights=[1, 2])
    for weights in ([1, np.nan, 1], [0, 0, 0], [1, -1, 1]):
        with pytest.raises(ValueError, match="weights must be numbers of at least 0"):
            DataLoader(numbered(3), weights=weights)
    x = np.zeros((4, 2), np.float32)
    x[2, 1] = np.nan
    with pytest.raises(ValueError, match="x of sample 2 holds NaN or infinity"):
        ArrayDataset(x, np.zeros(4))
