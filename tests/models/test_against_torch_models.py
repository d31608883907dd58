"""The known architectures: weights of PyTorch, saved under torchvision's names, give its outputs.

PyTorch's side is written here from the papers with torchvision's names for parameters, so that neither
torchvision nor its weights are needed. Skipped where PyTorch is absent.
"""

import numpy as np
import pytest

import medkern
from medkern import models
from medkern.io.weights import load_weights

torch = pytest.importorskip("torch")
nn = torch.nn

TOLERANCE = dict(rtol=1e-4, atol=1e-4)


class Classifier(nn.Module):
    """features, avgpool, classifier."""

    def __init__(self, features, size, classifier):
        super().__init__()
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(size)
        self.classifier = nn.Sequential(*classifier)

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def alexnet(classes):
    features = [nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    features += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    for before, after in ((192, 384), (384, 256), (256, 256)):
        features += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    features += [nn.MaxPool2d(3, 2)]
    classifier = [nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU()]
    classifier += [nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, classes)]
    return Classifier(features, 6, classifier)


def vgg(plan, classes, batch_norm):
    features, before = [], 3
    for step in plan:
        if step == "pool":
            features += [nn.MaxPool2d(2, 2)]
            continue
        features += [nn.Conv2d(before, step, 3, padding=1)]
        features += [nn.BatchNorm2d(step)] if batch_norm else []
        features += [nn.ReLU()]
        before = step
    classifier = [nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()]
    return Classifier(features, 7, [*classifier, nn.Dropout(), nn.Linear(4096, classes)])


class Block(nn.Module):
    """One of ResNet: kernels and channels of its convolutions, the stride in the first 3x3 one."""

    def __init__(self, before, kernels, channels, stride):
        super().__init__()
        self.count, self.downsample = len(kernels), None
        if stride != 1 or before != channels[-1]:
            shortcut = nn.Conv2d(before, channels[-1], 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels[-1]))
        strided = kernels.index(3)
        for i, (kernel, after) in enumerate(zip(kernels, channels, strict=True)):
            conv = nn.Conv2d(before, after, kernel, stride if i == strided else 1, kernel // 2, bias=False)
            setattr(self, f"conv{i + 1}", conv)
            setattr(self, f"bn{i + 1}", nn.BatchNorm2d(after))
            before = after

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y.relu() if i < self.count else y
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    def __init__(self, counts, bottleneck, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        before = 64
        for stage, count in enumerate(counts):
            width, blocks = 64 << stage, []
            for i in range(count):
                kernels = (1, 3, 1) if bottleneck else (3, 3)
                channels = (width, width, 4 * width) if bottleneck else (width, width)
                blocks.append(Block(before, kernels, channels, 2 if stage and i == 0 else 1))
                before = channels[-1]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(before, classes)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


VGG11 = [64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (lambda: alexnet(5), lambda: models.AlexNet(classes=5)),
        (lambda: vgg(VGG11, 3, True), lambda: models.VGG(11, classes=3, batch_norm=True)),
        (lambda: ResNet((2, 2, 2, 2), False, 4), lambda: models.ResNet(18, classes=4)),
        (lambda: ResNet((3, 4, 6, 3), True, 4), lambda: models.ResNet(50, classes=4)),
    ],
    ids=["alexnet", "vgg11_bn", "resnet18", "resnet50"],
)
def test_weights_of_pytorch_give_its_outputs(tmp_path, rng, theirs, ours):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    theirs = theirs()
    with torch.no_grad():
        for module in theirs.modules():  # statistics as after some training
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    theirs.eval()
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    net = ours()
    load_weights(net, tmp_path / "weights.safetensors")
    x = rng.normal(size=(2, 3, 70, 64)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(net.eval()(medkern.tensor(x)).numpy(), expected, **TOLERANCE)
    np.testing.assert_allclose(medkern.compile(net, x)(x).numpy(), expected, **TOLERANCE)
