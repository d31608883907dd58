"""Layers: modules that hold parameters and call `medkern.functional`. Names are those of `torch.nn`."""

from medkern.nn.container import ModuleDict, ModuleList, Sequential
from medkern.nn.module import Module, Parameter

__all__ = [
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "Sequential",
]
