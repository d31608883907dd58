"""One module per operation: its sizes, its arrays, its float64 result, and how each library computes it.

Sizes                   what a case says about it; `gradients` tells a backward pass from a forward one
TOLERANCE               the largest error allowed, as a share of the largest value expected
ROUNDINGS               where there are more than a few of operands on the way to a result: how many of their
                        rounding errors its error may come to
IS_NETWORK              True where the case is a network, which has a precision of its own
IS_TRAINED              True where the case is a training step of one
measure(x)              where there is one, the size of an error and of a result; else the largest value
draw(s, rng)            the arrays, contiguous, in PyTorch's shapes
expected(s, arrays)     what the call should give, in float64
work(s)                 (additions and multiplications, bytes read and written at least)
by_medkern(s, arrays)   a function that computes it; likewise by_torch (its tensors) and by_numpy
by_onnx(s, arrays, graph)   adds it to a graph and names the results, none where ONNX has no such operation
from_onnx(s, results)   these in PyTorch's shapes, where they differ
"""
