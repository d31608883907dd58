"""The 16-bit floats from their definition: so many bits, and a smallest and a largest number."""

import numpy as np

# Bits of precision, exponent of the smallest normal number, largest number.
FORMATS = {"float16": (11, -14, 65504.0), "bfloat16": (8, -126, (2 - 2.0**-7) * 2.0**127)}


def rounded(x, name):
    """The nearest numbers of the type `name`, ties to even, as float64."""
    bits, least, largest = FORMATS[name]
    x = np.asarray(x, np.float64)
    with np.errstate(all="ignore"):
        exponent = np.frexp(x)[1] - 1
        unit = 2.0 ** (np.maximum(exponent, least) - (bits - 1))
        y = np.where(np.isfinite(x), np.rint(x / unit) * unit, x)
        return np.where(np.abs(y) > largest, np.copysign(np.inf, y), y)
