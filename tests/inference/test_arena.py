from medkern.inference.arena import Buffer, place


def test_buffers_needed_at_the_same_time_lie_apart(rng):
    for _ in range(50):
        buffers = []
        for _ in range(rng.integers(1, 20)):
            first = int(rng.integers(0, 15))
            buffers.append(Buffer(int(rng.integers(0, 1000)), first, first + int(rng.integers(0, 5))))
        total = place(buffers)
        for i, a in enumerate(buffers):
            assert a.offset % 64 == 0 and a.offset + a.size <= total
            for b in buffers[:i]:
                if a.first <= b.last and b.first <= a.last:
                    assert a.offset + a.size <= b.offset or b.offset + b.size <= a.offset


def test_a_chain_needs_two_places():
    chain = [Buffer(1024, time, time + 1) for time in range(10)]
    assert place(chain) == 2048


def test_a_gap_is_filled_by_what_fits_it_best():
    buffers = [Buffer(4096, 0, 1), Buffer(2048, 0, 9), Buffer(1024, 0, 3), Buffer(512, 0, 9)]
    assert place(buffers) == sum(buffer.size for buffer in buffers)
    place([*buffers, late := Buffer(500, 5, 6)])
    assert late.offset == buffers[2].offset


def test_nothing_needs_nothing():
    assert place([]) == 0
    assert place([Buffer(0, 0, 1)]) == 0
