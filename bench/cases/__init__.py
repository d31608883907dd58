"""The cases: layers and networks of medical imaging at their real sizes, in a file per kind.

A family is a row of the table of goals. To add a case, add a line to its family's list.
"""

from __future__ import annotations

from ..case import Case
from . import conv, cuda, gemm, network, recurrent, stream
from .family import Family

FAMILIES = {
    "conv3x3": Family("3x3 stride 1 forward, weights prepared", 2.0),
    "conv3x3_plain": Family("the same without preparation, against PyTorch; 256 channels and below", 2.0),
    "conv3x3_wide_plain": Family("the same, above 256 channels", 1.0),
    "conv3x3_gradients": Family("the same, input and weight gradients together", 1.8),
    "first": Family("first layers", 1.3),
    "first_plain": Family("the same without preparation, against PyTorch", 1.3),
    "conv_other": Family("1x1, 3x3 stride 2, 5x5, dilated, depthwise", 1.0),
    "conv_other_plain": Family("the same without preparation, against PyTorch", 1.0),
    "conv_other_gradients": Family("the same, input and weight gradients together", 1.0),
    "conv3d": Family("3x3x3 forward, weights prepared", 1.8),
    "conv3d_plain": Family("the same without preparation, against PyTorch", 1.8),
    "conv3d_gradients": Family("the same, input and weight gradients together", 1.6),
    "transposed": Family("transposed convolution forward, weights prepared", 1.5),
    "transposed_plain": Family("the same without preparation, against PyTorch", 1.5),
    "transposed_gradients": Family("the same, input and weight gradients together", 1.5),
    "bandwidth": Family(
        "pooling, unpooling, resize, resample, norm + ReLU, softmax, pointwise, with gradients",
        1.5,
        bandwidth=0.8,
    ),
    "gemm": Family("square matrix products", 1.0),
    "linear": Family("fully connected layers, weights prepared", 1.3),
    "sequence": Family("LSTM and GRU sequences, weights prepared", 1.5),
    "sequence_plain": Family("the same without preparation, against PyTorch", 1.5),
    "sequence_gradients": Family("the same, forward and backward", 1.5),
    "cell": Family("LSTM and GRU cells, weights prepared", 2.0),
    "cell_plain": Family("the same without preparation, against PyTorch", 1.0),
    "unet_predict": Family("U-Net inference", 1.8),
    "unet_step": Family("U-Net training step", 1.7),
    "small_predict": Family("ResNet-18, small CNN and text classifiers, inference", 1.3),
    "small_step": Family("the same and DCGAN, training step", 1.3),
    **cuda.FAMILIES,
}

# Kind of case, also the file it is in -> its cases on the CPU.
KINDS: dict[str, list[Case]] = {
    "conv": conv.CASES,
    "stream": stream.CASES,
    "gemm": gemm.CASES,
    "recurrent": recurrent.CASES,
    "network": network.CASES,
}

BY_DEVICE = {"cpu": KINDS, "cuda": cuda.KINDS}
CASES = [case for kinds in BY_DEVICE.values() for cases in kinds.values() for case in cases]
