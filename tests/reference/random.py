"""Philox 4x32-10, uniform and normal numbers, word by word."""

import math

import numpy as np

MASK = 2**32 - 1


def philox(counter, key, rounds=10):
    c, k = list(counter), list(key)
    for _ in range(rounds):
        product0, product1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [
            (product1 >> 32) ^ c[1] ^ k[0],
            product1 & MASK,
            (product0 >> 32) ^ c[3] ^ k[1],
            product0 & MASK,
        ]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


def words(seed, offset, count):
    result = []
    block = offset
    while len(result) < count:
        result += philox([block & MASK, block >> 32, 0, 0], [seed & MASK, seed >> 32])
        block += 1
    return result[:count]


def uniform(seed, offset, count, dtype):
    """Numbers in [0, 1), exact."""
    if dtype == np.float32:
        return np.array([(w >> 8) / 2**24 for w in words(seed, offset, count)])
    w = words(seed, offset, 2 * count)
    return np.array([((w[2 * i] | w[2 * i + 1] << 32) >> 11) / 2**53 for i in range(count)])


def normal(seed, offset, count, dtype):
    u = uniform(seed, offset, count + count % 2, dtype)
    z = []
    for i in range(0, len(u), 2):
        radius = math.sqrt(-2 * math.log1p(-u[i]))
        z += [radius * math.cos(2 * math.pi * u[i + 1]), radius * math.sin(2 * math.pi * u[i + 1])]
    return np.array(z[:count])
