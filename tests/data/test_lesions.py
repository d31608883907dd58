import numpy as np
import pytest

from medkern.data.demo import Slices
from medkern.data.lesions import Lesion, add_lesions, interleaved, place_lesions, simulate


def disc(size=100, radius=40):
    rows, columns = np.ogrid[:size, :size]
    return (np.hypot(rows - size / 2, columns - size / 2) < radius).astype(np.int64)


def slices(count=4):
    labels = np.stack([disc()] * count)
    clean = labels * np.float32(0.8)
    return Slices(tuple(range(count)), clean, clean, labels)


def test_lesions_lie_in_tissue_apart_and_to_one_side():
    labels = disc()
    for seed in range(20):
        lesions = place_lesions(labels, 3, np.random.default_rng(seed), radius=(3, 6), contrast=(0.2, 0.5))
        assert len(lesions) == 3
        assert [one.column for one in lesions] == sorted(one.column for one in lesions)
        for i, one in enumerate(lesions):
            assert labels[one.row, one.column] == 1
            assert 3 <= one.radius <= 6 and 0.2 <= abs(one.contrast) <= 0.5
            assert one.side == ("left" if one.column < 50 else "right") and abs(one.column - 49.5) >= 3.5
            for other in lesions[:i]:
                apart = np.hypot(one.row - other.row, one.column - other.column)
                assert apart > one.radius + other.radius + 4


@pytest.mark.parametrize(("dark", "least", "most"), [(0, 100, 100), (0.5, 30, 70), (1, 0, 0)])
def test_the_share_of_dark_lesions(dark, least, most):
    found = [
        place_lesions(disc(), 1, np.random.default_rng(s), dark=dark)[0].contrast > 0 for s in range(100)
    ]
    assert least <= sum(found) <= most


def test_several_ranges_of_size():
    names = set()
    for seed in range(40):
        (lesion,) = place_lesions(disc(), 1, np.random.default_rng(seed), radius=((4, 5), (12, 13)))
        assert 4 <= lesion.radius <= 5 or 12 <= lesion.radius <= 13
        names.add(lesion.size)
    assert names == {"small", "large"}
    assert [Lesion(0, 0, r, 1, "left").size for r in (6.4, 6.5, 10.4, 10.5)] == [
        "small",
        "medium",
        "medium",
        "large",
    ]


def test_fewer_where_there_is_no_room():
    assert len(place_lesions(disc(40, 12), 4, np.random.default_rng(0), radius=(5, 5))) < 4


def test_a_lesion_has_its_contrast_and_size():
    image, labels, areas = np.full((64, 64), 2.0, np.float32), np.ones((64, 64), int), []
    image[:, 50:] = 1  # the tissue's mean counts, not what was there
    tissue = image.mean()
    for seed in range(30):
        lesion = Lesion(30, 34, 8, -0.5, "right")
        changed, mask = add_lesions(image, labels, [lesion], np.random.default_rng(seed))
        assert changed.dtype == np.float32 and changed[30, 34] == pytest.approx(tissue / 2)
        far = np.hypot(*np.ogrid[-30:34, -34:30]) > 16
        assert (changed[far] == image[far]).all()
        areas.append(mask.sum())
    assert np.mean(areas) == pytest.approx(np.pi * 64, rel=0.1)
    assert np.std(areas) > 0 and image[0, 0] == 2


def test_a_scan_depends_on_its_number_and_the_seed():
    few, many, other = (simulate(slices(), n, seed, radius=(4, 8)) for n, seed in ((5, 1), (9, 1), (5, 2)))
    for a, b in zip(few, many, strict=False):
        np.testing.assert_array_equal(a.image, b.image)
        assert a.lesions == b.lesions and a.number == b.number
        assert a.mask.any() == (len(a.lesions) > 0)
    assert any(not np.array_equal(a.image, b.image) for a, b in zip(few, other, strict=True))
    assert [scan.number for scan in many] == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert {len(scan.lesions) for scan in simulate(slices(), 40, lesions=(0, 2), radius=(4, 6))} == {0, 2}


def test_no_slice_is_in_two_parts_or_next_to_another_part():
    train, validation, test = interleaved()
    assert (len(train), len(validation), len(test)) == (50, 8, 12)
    for one, other in ((train, validation), (train, test), (validation, test)):
        assert min(abs(a - b) for a in one for b in other) >= 4


def test_bad_arguments_are_named():
    rng, labels = np.random.default_rng(0), np.ones((40, 40))
    with pytest.raises(ValueError, match="place_lesions: labels must have tissue"):
        place_lesions(np.zeros((4, 4)), 1, rng)
    with pytest.raises(ValueError, match=r"radius must be two positive numbers in order, got \(3, 2\)"):
        place_lesions(labels, 1, rng, radius=(3, 2))
    with pytest.raises(ValueError, match=r"contrast must be two positive numbers in order, got \(0, 1\)"):
        place_lesions(labels, 1, rng, contrast=(0, 1))
    with pytest.raises(ValueError, match="count must not be negative, got -1"):
        place_lesions(labels, -1, rng)
    with pytest.raises(ValueError, match=r"add_lesions: image and labels must have one shape \(H, W\)"):
        add_lesions(np.ones((4, 4)), np.ones((4, 5)), [], rng)
    with pytest.raises(ValueError, match="simulate: count must be at least 1, got 0"):
        simulate(slices(), 0)
    with pytest.raises(ValueError, match="simulate: lesions must be numbers from 0 on"):
        simulate(slices(), 1, lesions=())
    with pytest.raises(ValueError, match="interleaved: needs at least 40 slices, got 0 to 39"):
        interleaved(0, 39)
