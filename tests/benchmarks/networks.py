"""Encoders, decoders and denoisers as people use them today, with weights from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caelab import TopK
from tests.benchmarks.models import random_inputs

ACTIVE = 60  # units of a sparse code, of thousands


class Residual(nn.Module):
    """x + f(x); with a projection of x where the shapes differ."""

    def __init__(self, inner: nn.Module, across: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.across = inner, across or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as f's."""
        found: Tensor = self.across(x) + self.inner(x)
        return found


def decoder() -> nn.Module:
    """32 → 3 × 64 × 64 by deconvolutions."""
    up = [step for a, b in pairwise((128, 64, 32)) for step in (nn.ConvTranspose2d(a, b, 4, 2, 1), nn.ReLU())]
    last = nn.ConvTranspose2d(32, 3, 4, 2, 1)
    return nn.Sequential(nn.Linear(32, 128 * 64), nn.ReLU(), nn.Unflatten(1, (128, 8, 8)), *up, last, nn.Sigmoid())


def wide_map() -> nn.Module:
    """20 → 10 000 with a skip connection inside, so that it is no chain of layers."""
    return nn.Sequential(
        nn.Linear(20, 500), nn.Tanh(), Residual(nn.Sequential(nn.Linear(500, 500), nn.Tanh())), nn.Linear(500, 10_000)
    )


def sparse_encoder(inputs: int, code: int, top_k: bool = False) -> nn.Module:
    """The encoder of a sparse auto-encoder, of whose units about sixty are active for an input."""
    layer = nn.Linear(inputs, code)
    with torch.no_grad():
        pre = layer(random_inputs(64, inputs) - 0.5)
        layer.bias -= pre.topk(ACTIVE, dim=1).values[:, -1].mean()
    return nn.Sequential(layer, TopK(ACTIVE) if top_k else nn.ReLU())


def mlp(widths: Sequence[int], activation: type[nn.Module] = nn.Sigmoid) -> nn.Module:
    """A chain of layers."""
    return nn.Sequential(*(step for a, b in pairwise(widths) for step in (nn.Linear(a, b), activation())))


def _block(a: int, b: int, stride: int) -> nn.Module:
    inner = nn.Sequential(
        nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
        nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b),
    )  # fmt: skip
    across = nn.Conv2d(a, b, 1, stride, bias=False) if stride > 1 or a != b else None
    return nn.Sequential(Residual(inner, across), nn.ReLU())


def resnet18() -> nn.Module:
    """3 × n × n → 512, the layers of a ResNet-18 (He et al., 2016, CVPR)."""
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    widths = (64, 64, 128, 256, 512)
    stages = [
        block
        for place, (a, b) in enumerate(pairwise(widths))
        for block in (_block(a, b, 2 if place else 1), _block(b, b, 1))
    ]
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class UNet(nn.Module):
    """A denoiser of one channel: two levels down, two up, joined by skips; predicts the clean image."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        w = width
        self.down = nn.ModuleList([_pair(1, w), _pair(w, 2 * w), _pair(2 * w, 4 * w)])
        self.up = nn.ModuleList([_pair(6 * w, 2 * w), _pair(3 * w, w)])
        self.last = nn.Conv2d(w, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, n, n) to the same."""
        first = self.down[0](x)
        second = self.down[1](F.avg_pool2d(first, 2))
        h = self.down[2](F.avg_pool2d(second, 2))
        h = self.up[0](torch.cat([second, F.interpolate(h, scale_factor=2)], dim=1))
        h = self.up[1](torch.cat([first, F.interpolate(h, scale_factor=2)], dim=1))
        found: Tensor = self.last(h)
        return found


def _pair(a: int, b: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(a, b, 3, 1, 1), nn.SiLU(), nn.Conv2d(b, b, 3, 1, 1), nn.SiLU())


@cache
def denoiser(steps: int = 60) -> nn.Module:
    """A U-Net that has learnt for a minute to remove noise from smooth images."""
    torch.manual_seed(0)
    net, draws = UNet(), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(steps):
        clean = smooth_images(4, draws)
        noisy = clean + 0.3 * torch.randn(clean.shape, generator=draws)
        optimizer.zero_grad()
        (net(noisy) - clean).square().mean().backward()
        optimizer.step()
    return net.eval()


def smooth_images(count: int, draws: torch.Generator, size: int = 64) -> Tensor:
    """Random fields with few waves, (count, 1, size, size)."""
    coarse = torch.randn(count, 1, size // 8, size // 8, generator=draws)
    return F.interpolate(coarse, size=(size, size), mode="bicubic")


def conv28() -> nn.Module:
    """784 → 64 by convolutions."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 16, 3, 2, 1), nn.Softplus(),
        nn.Conv2d(16, 32, 3, 2, 1), nn.Softplus(), nn.Flatten(), nn.Linear(32 * 49, 64), nn.Sigmoid(),
    )  # fmt: skip


def residual32() -> nn.Module:
    """3072 → 64 by residual convolutions."""
    inner = [nn.Sequential(nn.Conv2d(32, 32, 3, 1, 1), nn.SiLU(), nn.Conv2d(32, 32, 3, 1, 1)) for _ in range(2)]
    return nn.Sequential(
        nn.Unflatten(1, (3, 32, 32)), nn.Conv2d(3, 32, 3, 2, 1), *(Residual(each) for each in inner),
        nn.SiLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32 * 16, 64),
    )  # fmt: skip


class Attention(nn.Module):
    """Self-attention over tokens, (batch, tokens, width) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.take, self.give = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Scaled dot products, written out."""
        q, k, v = self.take(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
        found: Tensor = self.give((weights @ v).transpose(1, 2).flatten(2))
        return found


class Tokens(nn.Module):
    """Square patches of an image of three channels as tokens, with places added."""

    def __init__(self, width: int, size: int = 32, patch: int = 4) -> None:
        super().__init__()
        self.size, self.cut = size, nn.Conv2d(3, width, patch, patch)
        self.places = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, width))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 3 · size²), or the images themselves, to (batch, tokens, width)."""
        found: Tensor = self.cut(x.view(-1, 3, self.size, self.size)).flatten(2).mT + self.places
        return found


class Mean(nn.Module):
    """The mean over tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to (batch, width)."""
        return x.mean(dim=1)


def vit(width: int = 96, depth: int = 3, heads: int = 4, size: int = 32, patch: int = 4) -> nn.Module:
    """3 · size² → width, a vision transformer (Dosovitskiy et al., 2021, ICLR); 3072 → 96 of three blocks."""
    blocks = [
        step
        for _ in range(depth)
        for step in (
            Residual(nn.Sequential(nn.LayerNorm(width), Attention(width, heads))),
            Residual(
                nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            ),
        )
    ]
    return nn.Sequential(Tokens(width, size, patch), *blocks, nn.LayerNorm(width), Mean())


def vit_s() -> nn.Module:
    """3 · 224² → 384, of the size ViT-S/16 (Touvron et al., 2021, ICML): twelve blocks, six heads, 22 M parameters."""
    return vit(384, 12, 6, 224, 16)


def transformer_encoder(width: int = 96) -> nn.Module:
    """3072 → 96 through torch's own TransformerEncoder."""
    layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
    return nn.Sequential(Tokens(width), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), Mean())
