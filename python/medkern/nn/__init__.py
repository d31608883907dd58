"""Layers: modules that hold parameters and call `medkern.functional`. Names are those of `torch.nn`."""

from medkern.nn.container import ModuleDict, ModuleList, Sequential
from medkern.nn.embedding import Embedding
from medkern.nn.module import Module, Parameter
from medkern.nn.pool import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    MaxUnpool1d,
    MaxUnpool2d,
    MaxUnpool3d,
)
from medkern.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from medkern.nn.resize import Upsample

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "RNNCell",
    "Sequential",
    "Upsample",
]
