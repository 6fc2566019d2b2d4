"""VGG and ResNet50 as torchvision builds them, of any widths, so that the names in their state
dicts come about as there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

CONVOLUTIONS = {"16": (2, 2, 3, 3, 3), "19": (2, 2, 4, 4, 4)}


class VGG(nn.Module):
    def __init__(self, name: str, channels: Sequence[int], units: Sequence[int], classes: int) -> None:
        super().__init__()
        features: list[nn.Module] = []
        source = 3
        for count, width in zip(CONVOLUTIONS[name[3:5]], channels, strict=True):
            for _ in range(count):
                features += [nn.Conv2d(source, width, 3, padding=1)]
                features += [nn.BatchNorm2d(width)] if name.endswith("bn") else []
                features += [nn.ReLU()]
                source = width
            features += [nn.MaxPool2d(2, 2)]
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        first, second = (nn.Linear(source * 49, units[0]), nn.Linear(*units))
        last = nn.Linear(units[1], classes)
        self.classifier = nn.Sequential(first, nn.ReLU(), nn.Dropout(), second, nn.ReLU(), nn.Dropout(), last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Bottleneck(nn.Module):
    def __init__(self, source: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(source, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride != 1 or source != 4 * width:
            self.downsample = nn.Sequential(nn.Conv2d(source, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet50(nn.Module):
    def __init__(self, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        source = widths[0]
        for stage, (count, width) in enumerate(zip((3, 4, 6, 3), widths, strict=True), 1):
            blocks = []
            for number in range(count):
                blocks.append(Bottleneck(source, width, 2 if stage > 1 and number == 0 else 1))
                source = 4 * width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(source, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def small(name: str, classes: int = 9) -> nn.Module:
    """A narrow network of that name in evaluation mode, whose random weights keep activations at
    about 1.
    """
    torch.manual_seed(0)
    network = ResNet50((4, 5, 6, 7), classes) if name == "resnet50" else VGG(name, (4, 5, 6, 7, 8), (12, 11), classes)
    for key, value in network.state_dict().items():
        if value.ndim > 1:
            nn.init.kaiming_normal_(value, nonlinearity="relu")
        elif value.is_floating_point():
            offset = 0.0 if key.endswith(("bias", "mean")) else 0.7
            value.copy_(0.3 * torch.rand_like(value) + offset)
    return network.eval()


def logits(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """For images (N, C, H, W)."""
    with torch.no_grad():
        return network(images)
