"""Networks, and how to build one from its description."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from medkern.models.alexnet import AlexNet
from medkern.models.cnn import CNN
from medkern.models.dcgan import DCGANDiscriminator, DCGANGenerator
from medkern.models.registration import Registration
from medkern.models.report import ReportModel, TextModel
from medkern.models.resnet import ResNet
from medkern.models.segnet import SegNet
from medkern.models.sequence import SequenceClassifier
from medkern.models.unet import UNet
from medkern.models.vgg import VGG
from medkern.nn import Module

# A description names its class here and nowhere else: reading a file imports nothing.
_MODELS: dict[str, type[Module]] = {
    network.__name__: network
    for network in (
        AlexNet,
        CNN,
        DCGANDiscriminator,
        DCGANGenerator,
        Registration,
        ReportModel,
        ResNet,
        SegNet,
        SequenceClassifier,
        TextModel,
        UNet,
        VGG,
    )
}


def config(model: Module) -> dict[str, Any]:
    """What `build` needs to make a network like `model`, fit for JSON.

    Args:
        model: a network of this namespace.

    Returns:
        "name" and the arguments.

    Raises:
        TypeError: it is not one.
    """
    name = type(model).__name__
    if _MODELS.get(name) is not type(model):
        raise TypeError(f"config: model must be one of {', '.join(_MODELS)}, got {name}")
    return {"name": name, **model.config}  # type: ignore[attr-defined]


def build(config: Mapping[str, Any]) -> Module:
    """A new network from its description.

    Args:
        config: "name" and arguments, as `medkern.models.config` gives them.

    Returns:
        The network, with fresh weights.

    Raises:
        ValueError: the name or an argument is unknown, or a value out of range.
        TypeError: a value has the wrong type.

    Example:
        >>> medkern.models.build({"name": "UNet", "filters": [4, 8]}).config["out_channels"]
        1
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"build: config must be a mapping, got {type(config).__name__}")
    name = config.get("name")
    if not isinstance(name, str) or name not in _MODELS:
        raise ValueError(f"build: name must be one of {', '.join(_MODELS)}, got {name!r}")
    arguments = {key: value for key, value in config.items() if key != "name"}
    known = [key for key in inspect.signature(_MODELS[name]).parameters]
    unknown = [key for key in arguments if key not in known]
    if unknown:
        raise ValueError(f"build: {name} takes {', '.join(known)}, got {', '.join(map(str, unknown))}")
    return _MODELS[name](**arguments)


__all__ = [
    "CNN",
    "VGG",
    "AlexNet",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "Registration",
    "ReportModel",
    "ResNet",
    "SegNet",
    "SequenceClassifier",
    "TextModel",
    "UNet",
    "build",
    "config",
]
