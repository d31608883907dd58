import threading

import numpy as np
import pytest

import medkern
from medkern import functional, random
from medkern.testing import gradcheck


@pytest.fixture(autouse=True)
def restored_state():
    state = random.get_state()
    yield
    random.set_state(state)


def test_dropout_gradient(rng):
    def same_mask(x):
        random.manual_seed(3)
        return functional.dropout(x, 0.4)

    gradcheck(same_mask, [rng.standard_normal((2, 3, 4))])


def test_the_gradient_of_dropout_can_be_differentiated(rng):
    mask = medkern.kernels.dropout(np.ones((2, 5)), 0.4)[1]
    array = medkern.tensor(mask).array
    gradcheck(
        lambda dy: functional.random.ApplyMask.apply(dy, mask=array, p=0.4), [rng.standard_normal((2, 5))]
    )


def test_dropout_draws_anew_each_time_and_repeats_after_seeding():
    x = medkern.tensor(np.ones((3, 50), np.float32))
    random.manual_seed(7)
    first, second = functional.dropout(x).numpy(), functional.dropout(x).numpy()
    assert (first != second).any() and set(np.unique(first)) == {0, 2}
    random.manual_seed(7)
    np.testing.assert_array_equal(functional.dropout(x).numpy(), first)
    np.testing.assert_array_equal(functional.dropout(x).numpy(), second)


def test_without_training_or_probability_x_comes_back():
    x = medkern.tensor([1.0, 2.0])
    before = random.get_state()
    assert functional.dropout(x, 0.5, training=False) is x
    assert functional.dropout(x, 0.0) is x
    assert random.get_state() == before
    for p in (-0.5, 1.5):
        with pytest.raises(ValueError, match="p must be from 0 to 1"):
            functional.dropout(x, p, training=False)


def test_the_state_counts_what_is_used():
    random.manual_seed(5)
    assert random.get_state() == (5, 0)
    random.uniform((9,))
    assert random.get_state() == (5, 3)
    random.normal((4,), dtype="float64")
    state = random.get_state()
    assert state == (5, 5)
    numbers = random.normal((6,), 1.0, 2.0).numpy()
    random.set_state(state)
    np.testing.assert_array_equal(random.normal((6,), 1.0, 2.0).numpy(), numbers)
    np.testing.assert_array_equal(medkern.kernels.normal((6,), "float32", 5, 5, 1.0, 2.0), numbers)


def test_a_failed_draw_uses_nothing():
    before = random.get_state()
    with pytest.raises(ValueError, match="std must be at least 0"):
        random.normal((4,), std=-1.0)
    assert random.get_state() == before


def test_threads_draw_different_numbers():
    random.manual_seed(1)
    drawn = []
    threads = [threading.Thread(target=lambda: drawn.append(random.uniform((64,)).numpy())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(np.unique(np.concatenate(drawn))) == 256
    assert random.get_state() == (1, 64)


@pytest.mark.parametrize(
    "state,error,message",
    [
        ((1,), ValueError, "state must be"),
        ((-1, 0), ValueError, "seed must be from 0"),
        ((0, 2**64), ValueError, "offset must be from 0"),
        (("a", 0), TypeError, "seed must be an int"),
    ],
)
def test_bad_states_are_refused(state, error, message):
    before = random.get_state()
    with pytest.raises(error, match=message):
        random.set_state(state)
    assert random.get_state() == before
