"""One module per operation: its sizes, its arrays, its float64 result, and how each library computes it.

Sizes                   what a case says about it; `gradients` tells a backward pass from a forward one
TOLERANCE               the largest error allowed, as a share of the largest value expected
draw(s, rng)            the arrays, contiguous, in PyTorch's shapes
expected(s, arrays)     what the call should give, in float64
work(s)                 (additions and multiplications, bytes read and written at least)
by_<library>(s, ...)    a function that computes it; missing where a library has no such operation
"""
