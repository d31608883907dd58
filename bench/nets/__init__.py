"""Networks as data, so that every library and the oracle compute the same one.

`net` says what a network is, `zoo` holds some; `modules` makes PyTorch's and medkern's form, `export` the
ONNX graph, `backprop` the float64 oracle with gradients.
"""
