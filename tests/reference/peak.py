"""The chain of multiply-adds, from the formula."""

import numpy as np


def fma_chain(x, rounds):
    y = np.asarray(x, np.float64)
    for _ in range(rounds):
        y = y / 2 + 1
    return y
