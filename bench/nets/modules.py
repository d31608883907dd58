"""A network as a module of PyTorch or of medkern, whose names are the same."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ..case import Arrays
from .net import Layer, Net


def _make(layer: Layer, rank: int, nn: ModuleType) -> Any:
    """The module of a layer with parameters."""
    o = layer.options
    if layer.kind in ("conv", "conv_transpose"):
        kind = getattr(nn, f"Conv{'Transpose' if layer.kind == 'conv_transpose' else ''}{rank}d")
        options = {"stride": o.get("stride", 1), "padding": o.get("padding", 0), "bias": o.get("bias", True)}
        return kind(o["inputs"], o["outputs"], o["kernel"], **options)
    if layer.kind == "batch_norm":
        return getattr(nn, f"BatchNorm{rank}d")(o["channels"])
    if layer.kind == "linear":
        return nn.Linear(o["inputs"], o["outputs"])
    if layer.kind == "embedding":
        return nn.Embedding(o["words"], o["features"])
    return nn.LSTM(o["inputs"], o["hidden"], batch_first=True)


def _apply(layer: Layer, rank: int, functional: ModuleType, extra: dict[str, Any], x: list[Any]) -> Any:
    """A layer without parameters."""
    o = layer.options
    if layer.kind == "max_pool":
        return getattr(functional, f"max_pool{rank}d")(x[0], o["kernel"], o["stride"], o.get("padding", 0))
    if layer.kind == "global_average":
        return getattr(functional, f"adaptive_avg_pool{rank}d")(x[0], 1).flatten(1)
    if layer.kind == "flatten":
        return x[0].flatten(1)
    if layer.kind == "concat":
        return extra["concat"](x, 1)
    if layer.kind == "add":
        return x[0] + x[1]
    if layer.kind == "last":
        return x[0][:, -1]
    if layer.kind == "leaky_relu":
        return extra["leaky_relu"](x[0], o["slope"])
    return extra[layer.kind](x[0])


def module(net: Net, nn: ModuleType, functional: ModuleType, extra: dict[str, Any], arrays: Arrays) -> Any:
    """The network with these parameters; `extra` holds the functions whose names or options differ."""

    class Network(nn.Module):  # type: ignore[name-defined,misc]
        """Runs the layers in order."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([_make(layer, net.rank, nn) for layer in trained])

        def forward(self, x: Any) -> Any:
            values = [x]
            modules = iter(self.layers)
            for n, layer in enumerate(net.layers):
                inputs = [values[i] for i in layer.inputs]
                for i in layer.inputs:
                    if last[i] == n:
                        values[i] = None  # as in a forward written by hand, whose variables are overwritten
                if net.shapes(layer):
                    value = next(modules)(*inputs)
                    values.append(value[0] if layer.kind == "lstm" else value)
                else:
                    values.append(_apply(layer, net.rank, functional, extra, inputs))
            return values[-1]

    last = {i: n for n, layer in enumerate(net.layers) for i in layer.inputs}
    trained = [layer for layer in net.layers if net.shapes(layer)]
    made = Network()
    state = dict(made.state_dict())
    for i, layer in enumerate(trained):
        for name in net.shapes(layer):
            key = f"layers.{i}.{name}"
            state[key] = extra["tensor"](arrays[f"{layer.name}.{name}"])
    made.load_state_dict(state)
    return made


def by_torch(net: Net, arrays: Arrays) -> Any:
    """The network in PyTorch, with ReLU in place."""
    import torch
    from torch import nn
    from torch.nn import functional

    extra = {
        "concat": torch.cat,
        "leaky_relu": lambda x, slope: functional.leaky_relu(x, slope, inplace=True),
        "relu": lambda x: functional.relu(x, inplace=True),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "tensor": torch.from_numpy,
    }
    return module(net, nn, functional, extra, arrays)


def by_medkern(net: Net, arrays: Arrays) -> Any:
    """The same in medkern."""
    from medkern import functional, nn

    extra = {
        "concat": functional.concat,
        "leaky_relu": functional.leaky_relu,
        "relu": functional.relu,
        "sigmoid": functional.sigmoid,
        "tanh": functional.tanh,
        "tensor": lambda x: x,
    }
    return module(net, nn, functional, extra, arrays)
