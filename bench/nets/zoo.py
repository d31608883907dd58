"""Networks of medical imaging. Layers of the U-Net are named as `medkern.models.UNet` names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .net import Net


def unet(
    rank: int = 2,
    filters: Sequence[int] = (64, 128, 256, 512, 1024),
    norm: str | None = None,
    sigmoid: bool = True,
    outputs: int = 1,
) -> Net:
    """The U-Net of Ronneberger et al. with convolutions that keep the size, one channel in."""
    net = Net(rank)

    def double(name: str, inputs: int, count: int, source: int) -> int:
        for i, read in ((1, inputs), (2, count)):
            source = net.add(
                "conv",
                source,
                name=f"{name}.conv{i}",
                inputs=read,
                outputs=count,
                kernel=3,
                padding=1,
                bias=norm is None,
            )
            if norm == "batch":
                source = net.add("batch_norm", name=f"{name}.norm{i}", channels=count)
            source = net.add("relu")
        return source

    value, skips, before = 0, [], 1
    for level, count in enumerate(filters):
        if level:
            skips.append(value)
            value = net.add("max_pool", kernel=2, stride=2)
        value = double(f"down.{level}", before, count, value)
        before = count
    for level, count in enumerate(filters[-2::-1]):
        value = net.add(
            "conv_transpose", name=f"rise.{level}", inputs=before, outputs=count, kernel=2, stride=2
        )
        value = net.add("concat", skips.pop(), value)
        value = double(f"up.{level}", 2 * count, count, value)
        before = count
    net.add("conv", name="head", inputs=before, outputs=outputs, kernel=1)
    if sigmoid:
        net.add("sigmoid")
    return net


def resnet18(classes: int = 5, channels: int = 3) -> Net:
    """ResNet-18 of He et al."""
    net = Net()

    def conv(source: int, inputs: int, outputs: int, kernel: int, stride: int, relu: bool = True) -> int:
        value = net.add(
            "conv",
            source,
            inputs=inputs,
            outputs=outputs,
            kernel=kernel,
            stride=stride,
            padding=kernel // 2,
            bias=False,
        )
        value = net.add("batch_norm", channels=outputs)
        return net.add("relu") if relu else value

    value = conv(0, channels, 64, 7, 2)
    value = net.add("max_pool", kernel=3, stride=2, padding=1)
    before = 64
    for count, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for step in (stride, 1):
            inner = conv(value, before, count, 3, step)
            inner = conv(inner, count, count, 3, 1, relu=False)
            if step != 1 or before != count:
                value = conv(value, before, count, 1, step, relu=False)
            net.add("add", inner, value)
            value, before = net.add("relu"), count
    net.add("global_average")
    net.add("linear", inputs=512, outputs=classes)
    return net


def small_cnn(size: int = 128, classes: int = 5) -> Net:
    """Two convolutions of 32 and 64 filters, each with pooling, and two dense layers; one channel in."""
    net = Net()
    for inputs, outputs in ((1, 32), (32, 64)):
        net.add("conv", inputs=inputs, outputs=outputs, kernel=3, padding=1)
        net.add("relu")
        net.add("max_pool", kernel=2, stride=2)
    net.add("flatten")
    net.add("linear", inputs=64 * (size // 4) ** 2, outputs=128)
    net.add("relu")
    net.add("linear", inputs=128, outputs=classes)
    return net


def text(words: int = 5000, features: int = 128, hidden: int = 256, classes: int = 5) -> Net:
    """A classifier of reports: embedding, LSTM, a dense layer on its last state."""
    net = Net()
    net.add("embedding", words=words, features=features)
    net.add("lstm", inputs=features, hidden=hidden)
    net.add("last")
    net.add("linear", inputs=hidden, outputs=classes)
    return net


def generator(noise: int = 100, filters: int = 64) -> Net:
    """DCGAN's, for 64 x 64 images of one channel."""
    net = Net()
    before = noise
    for i, count in enumerate((8 * filters, 4 * filters, 2 * filters, filters)):
        options: dict[str, Any] = {"stride": 2, "padding": 1} if i else {}
        net.add("conv_transpose", inputs=before, outputs=count, kernel=4, bias=False, **options)
        net.add("batch_norm", channels=count)
        net.add("relu")
        before = count
    net.add("conv_transpose", inputs=before, outputs=1, kernel=4, stride=2, padding=1)
    net.add("tanh")
    return net


def discriminator(filters: int = 64) -> Net:
    """DCGAN's, for 64 x 64 images of one channel."""
    net = Net()
    before = 1
    for i, count in enumerate((filters, 2 * filters, 4 * filters, 8 * filters)):
        net.add("conv", inputs=before, outputs=count, kernel=4, stride=2, padding=1, bias=i == 0)
        if i:
            net.add("batch_norm", channels=count)
        net.add("leaky_relu", slope=0.2)
        before = count
    net.add("conv", inputs=before, outputs=1, kernel=4)
    net.add("flatten")
    return net


NETS = {"unet": unet, "resnet18": resnet18, "small_cnn": small_cnn, "text": text}
