import numpy as np
import pytest

from medkern.data.demo import Slices
from medkern.data.uptake import CURVES, WINDOW, curve, simulate_uptake


def slices():
    labels = np.zeros((2, 120, 110), int)
    labels[:, 10:110, 10:100] = 1
    clean = labels * np.float32(0.8)
    return Slices((5, 9), clean, clean, labels)


def test_curves_start_at_zero_and_end_as_their_names_say():
    times = np.arange(16)
    for seed in range(20):
        persistent, plateau, washout = (
            curve(kind, times, np.random.default_rng((seed, kind))) for kind in range(len(CURVES))
        )
        for values in (persistent, plateau, washout):
            assert values[0] == 0 and values[1] == 0  # the agent arrives after a frame at least
        assert np.diff(persistent).min() >= 0 and persistent[-1] > 1.3
        assert plateau[-1] == pytest.approx(1, abs=1e-3)
        assert washout.argmax() < 10 and washout[-1] < washout.max() - 0.15


def test_a_sequence_shows_its_curve():
    for sequence in simulate_uptake(slices(), 12, lengths=(10, 14)):
        frames = sequence.frames
        assert frames.dtype == np.float32 and 10 <= len(frames) <= 14
        assert frames.shape[1:] == (1, WINDOW, WINDOW) and (frames[0] == 0).all()
        lesion = frames[:, 0].max(axis=0) > 0.25
        rise = frames[:, 0, lesion].mean(axis=1)
        assert rise[-4:].mean() > 0.1 and abs(frames[:, 0, ~lesion].mean(axis=1)).max() < 0.05


def test_classes_come_in_turn_and_lengths_vary():
    sequences = simulate_uptake(slices(), 12, seed=3)
    assert [sequence.curve for sequence in sequences] == [0, 1, 2] * 4
    assert len({len(sequence.frames) for sequence in sequences}) > 2
    again = simulate_uptake(slices(), 3, seed=3)
    np.testing.assert_array_equal(sequences[2].frames, again[2].frames)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="simulate_uptake: count must be at least 1, got 0"):
        simulate_uptake(slices(), 0)
    with pytest.raises(ValueError, match=r"lengths must be two numbers in order from 2 on, got \(1, 4\)"):
        simulate_uptake(slices(), 1, lengths=(1, 4))
    with pytest.raises(ValueError, match="curve: kind must be from 0 to 2, got 3"):
        curve(3, np.arange(4), np.random.default_rng(0))
    full = Slices((7,), *[np.zeros((1, 80, 80), np.float32)] * 2, np.eye(80, dtype=int)[None])
    with pytest.raises(ValueError, match="slice 7 has no room for a lesion"):
        simulate_uptake(full, 1)
