"""Encoders and decoders of today in small: each takes images or vectors, and its weights are random."""

import torch
from torch import nn

from caelab import TopK


class Residual(nn.Module):
    def __init__(self, channels, stride):
        super().__init__()
        self.skip = nn.Conv2d(channels, stride * channels, 1, stride)
        self.steps = nn.Sequential(
            nn.Conv2d(channels, stride * channels, 3, stride, 1),
            nn.BatchNorm2d(stride * channels),
            nn.ReLU(),
            nn.Conv2d(stride * channels, stride * channels, 3, 1, 1),
        )

    def forward(self, x):
        return torch.relu(self.skip(x) + self.steps(x))


def resnet():
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(2))
    stages = [Residual(8, 1), Residual(8, 2), Residual(16, 2)]
    return nn.Sequential(stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class ViT(nn.Module):
    def __init__(self, side=32, patch=8, width=24):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.places = nn.Parameter(0.02 * torch.randn((side // patch) ** 2, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, x):
        return self.blocks(self.patches(x).flatten(2).mT + self.places).mean(dim=1)


class UNet(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        torch.manual_seed(0)
        self.down = nn.Sequential(nn.Conv2d(1, width, 3, 1, 1), nn.SiLU())
        self.below = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.SiLU())
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.out = nn.Conv2d(2 * width, 1, 3, 1, 1)

    def forward(self, x):
        high = self.down(x)
        return x - self.out(torch.cat([high, self.up(self.below(high))], dim=1))


def vae_decoder():
    torch.manual_seed(0)
    widen = [nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1)]
    return nn.Sequential(nn.Linear(10, 32 * 64), nn.ReLU(), nn.Unflatten(1, (32, 8, 8)), *widen, nn.Sigmoid())


def sparse_autoencoder():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 2048), TopK(16))
