"""One encoder for each of torch's modules, its settings drawn at random from its name."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

Make = Callable[[Random], nn.Module]


class Of(nn.Module):
    """A function as a module, with the modules that it uses as its children."""

    def __init__(self, function: Callable[..., Tensor], *children: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(children)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs, *self.parts)


def first(output: Any) -> Tensor:
    """The first of what a recurrent layer or an attention returns."""
    return output[0] if isinstance(output, tuple) else output


def against(target: Tensor, loss: nn.Module) -> nn.Module:
    """An elementwise loss against a target that is the same for every example."""
    return Of(lambda x, each: each(x, target.to(x).expand_as(x)), loss)


def row(kind: type[nn.Module], *arguments: Any, **options: Any) -> Callable[[Random], nn.Module]:
    """A module whose settings are given."""
    return lambda pick: kind(*arguments, **options)


def pooled(kind: type[nn.Module]) -> Make:
    """A pooling layer with a random window."""
    return lambda pick: kind(pick.choice([2, 3]), stride=pick.choice([1, 2]))


def convolved(kind: type[nn.Module], channels: int = 2) -> Make:
    """A convolution with random settings."""
    return lambda pick: kind(
        channels,
        2,
        kernel_size=pick.choice([2, 3]),
        stride=pick.choice([1, 2]),
        padding=pick.choice([0, 1]),
        groups=pick.choice([1, 2]),
        bias=pick.random() < 0.5,
    )


LINE, PLANE, SPACE = (2, 6), (2, 4, 4), (2, 3, 3, 3)
VECTOR, SEQUENCE = (6,), (3, 4)
TARGET = torch.linspace(0.1, 0.9, 6)

ELEMENTWISE: dict[str, Make] = {
    "CELU": lambda p: nn.CELU(p.uniform(0.5, 2)),
    "ELU": lambda p: nn.ELU(p.uniform(0.5, 2)),
    "GELU": lambda p: nn.GELU(p.choice(["none", "tanh"])),
    "Hardshrink": lambda p: nn.Hardshrink(p.uniform(0.1, 0.4)),
    "Hardsigmoid": row(nn.Hardsigmoid),
    "Hardswish": row(nn.Hardswish),
    "Hardtanh": lambda p: nn.Hardtanh(-p.uniform(0.2, 1), p.uniform(0.2, 1)),
    "Identity": row(nn.Identity),
    "LeakyReLU": lambda p: nn.LeakyReLU(p.uniform(0.01, 0.4)),
    "LogSigmoid": row(nn.LogSigmoid),
    "LogSoftmax": row(nn.LogSoftmax, dim=1),
    "Mish": row(nn.Mish),
    "PReLU": lambda p: nn.PReLU(p.choice([1, 6])),
    "RReLU": row(nn.RReLU),
    "ReLU": row(nn.ReLU),
    "ReLU6": row(nn.ReLU6),
    "SELU": row(nn.SELU),
    "SiLU": row(nn.SiLU),
    "Sigmoid": row(nn.Sigmoid),
    "Softmax": row(nn.Softmax, dim=1),
    "Softmin": row(nn.Softmin, dim=1),
    "Softplus": lambda p: nn.Softplus(p.uniform(0.5, 3), p.choice([1.0, 20.0])),
    "Softshrink": lambda p: nn.Softshrink(p.uniform(0.1, 0.4)),
    "Softsign": row(nn.Softsign),
    "Tanh": row(nn.Tanh),
    "Tanhshrink": row(nn.Tanhshrink),
    "Threshold": lambda p: nn.Threshold(p.uniform(-0.2, 0.2), 0.3),
    "GLU": row(nn.GLU, dim=1),
    "ReLU in place": row(nn.ReLU, inplace=True),
    "ELU in place": row(nn.ELU, inplace=True),
    "Dropout": lambda p: nn.Dropout(p.uniform(0.2, 0.6)),
    "AlphaDropout": lambda p: nn.AlphaDropout(p.uniform(0.2, 0.6)),
    "FeatureAlphaDropout": lambda p: nn.FeatureAlphaDropout(p.uniform(0.2, 0.6)),
}
ON_VECTORS: dict[str, Make] = {
    "Linear": lambda p: nn.Linear(6, p.randint(2, 9), bias=p.random() < 0.5),
    "LazyLinear": lambda p: nn.LazyLinear(p.randint(2, 9)),
    "Bilinear": lambda p: Of(lambda x, each: each(x[:, :2], x[:, 2:]), nn.Bilinear(2, 4, p.randint(2, 5))),
    "BatchNorm1d": row(nn.BatchNorm1d, 6),
    "LazyBatchNorm1d": row(nn.LazyBatchNorm1d),
    "SyncBatchNorm": row(nn.SyncBatchNorm, 6),
    "LayerNorm": lambda p: nn.LayerNorm(6, elementwise_affine=p.random() < 0.5),
    "RMSNorm": row(nn.RMSNorm, 6),
    "GroupNorm": lambda p: nn.GroupNorm(p.choice([1, 2, 3]), 6),
    "CosineSimilarity": lambda p: Of(lambda x, each: each(x[:, :3], x[:, 3:])[:, None], nn.CosineSimilarity(dim=1)),
    "PairwiseDistance": lambda p: Of(lambda x, each: each(x[:, :3], x[:, 3:])[:, None], nn.PairwiseDistance(p=2.0)),
    "Unflatten": lambda p: nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Linear(3, 2)),
    "Flatten": lambda p: nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Softplus()),
    "Sequential": lambda p: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Sequential(nn.Linear(5, 4), nn.Sigmoid())),
    "ModuleList": lambda p: Of(
        lambda x, each: sum((one(x) for one in each), torch.zeros(())), nn.ModuleList(nn.Linear(6, 3) for _ in range(2))
    ),
    "ModuleDict": lambda p: Of(
        lambda x, each: each["b"](each["a"](x)), nn.ModuleDict({"a": nn.Linear(6, 3), "b": nn.SiLU()})
    ),
    "ParameterList": lambda p: Of(
        lambda x, each: torch.tanh(x @ each[0]) * each[1],
        nn.ParameterList([torch.randn(6, 4), torch.randn(4)]),
    ),
    "ParameterDict": lambda p: Of(
        lambda x, each: torch.tanh(x @ each["a"]), nn.ParameterDict({"a": nn.Parameter(torch.randn(6, 4))})
    ),
    "AdaptiveLogSoftmaxWithLoss": lambda p: Of(
        lambda x, each: each.log_prob(x), nn.AdaptiveLogSoftmaxWithLoss(6, 8, cutoffs=[3, 5], div_value=2.0)
    ),
    "RNNCell": lambda p: nn.RNNCell(6, 4, nonlinearity=p.choice(["tanh", "relu"])),
    "LSTMCell": lambda p: Of(lambda x, each: each(x)[0], nn.LSTMCell(6, 4)),
    "GRUCell": row(nn.GRUCell, 6, 4),
    "weight_norm": lambda p: nn.Sequential(weight_norm(nn.Linear(6, 4)), nn.Tanh()),
    "spectral_norm": lambda p: nn.Sequential(spectral_norm(nn.Linear(6, 4)), nn.Tanh()),
    "orthogonal": lambda p: nn.Sequential(
        orthogonal(nn.Linear(6, 6), orthogonal_map=p.choice(["matrix_exp", "cayley"])), nn.Sigmoid()
    ),
    "module used twice": lambda p: (lambda once: nn.Sequential(once, nn.Tanh(), once, nn.Sigmoid()))(nn.Linear(6, 6)),
    "L1Loss": lambda p: against(TARGET, nn.L1Loss(reduction="none")),
    "MSELoss": lambda p: against(TARGET, nn.MSELoss(reduction="none")),
    "HuberLoss": lambda p: against(TARGET, nn.HuberLoss(reduction="none", delta=p.uniform(0.2, 1))),
    "SmoothL1Loss": lambda p: against(TARGET, nn.SmoothL1Loss(reduction="none", beta=p.uniform(0.2, 1))),
    "BCEWithLogitsLoss": lambda p: against(TARGET, nn.BCEWithLogitsLoss(reduction="none")),
    "BCELoss": lambda p: Of(
        lambda x, each: each(torch.sigmoid(x), TARGET.to(x).expand_as(x)), nn.BCELoss(reduction="none")
    ),
    "KLDivLoss": lambda p: Of(
        lambda x, each: each(torch.log_softmax(x, 1), TARGET.to(x).expand_as(x)), nn.KLDivLoss(reduction="none")
    ),
    "PoissonNLLLoss": lambda p: against(TARGET, nn.PoissonNLLLoss(reduction="none")),
    "GaussianNLLLoss": lambda p: Of(
        lambda x, each: each(x[:, :3], TARGET[:3].to(x).expand_as(x[:, :3]), x[:, 3:].square() + 0.1),
        nn.GaussianNLLLoss(reduction="none"),
    ),
    "SoftMarginLoss": lambda p: against(TARGET.sub(0.5).sign(), nn.SoftMarginLoss(reduction="none")),
    "HingeEmbeddingLoss": lambda p: against(TARGET.sub(0.5).sign(), nn.HingeEmbeddingLoss(reduction="none")),
    "CrossEntropyLoss": lambda p: Of(
        lambda x, each: each(x, torch.full((len(x),), 2))[:, None], nn.CrossEntropyLoss(reduction="none")
    ),
    "NLLLoss": lambda p: Of(
        lambda x, each: each(torch.log_softmax(x, 1), torch.full((len(x),), 2))[:, None], nn.NLLLoss(reduction="none")
    ),
    "MultiMarginLoss": lambda p: Of(
        lambda x, each: each(x, torch.full((len(x),), 2))[:, None], nn.MultiMarginLoss(reduction="none")
    ),
    "MultiLabelMarginLoss": lambda p: Of(
        lambda x, each: each(x, torch.tensor([2, 4, -1, 0, 0, 0]).expand(len(x), -1))[:, None],
        nn.MultiLabelMarginLoss(reduction="none"),
    ),
    "MultiLabelSoftMarginLoss": lambda p: Of(
        lambda x, each: each(x, TARGET.round().to(x).expand_as(x))[:, None],
        nn.MultiLabelSoftMarginLoss(reduction="none"),
    ),
    "MarginRankingLoss": lambda p: Of(
        lambda x, each: each(x[:, :3], x[:, 3:], torch.ones(3).to(x).expand_as(x[:, :3])),
        nn.MarginRankingLoss(margin=0.5, reduction="none"),
    ),
    "CosineEmbeddingLoss": lambda p: Of(
        lambda x, each: each(x[:, :3], x[:, 3:], torch.ones(len(x)).to(x))[:, None],
        nn.CosineEmbeddingLoss(reduction="none"),
    ),
    "TripletMarginLoss": lambda p: Of(
        lambda x, each: each(x[:, :2], x[:, 2:4], x[:, 4:])[:, None], nn.TripletMarginLoss(reduction="none")
    ),
    "TripletMarginWithDistanceLoss": lambda p: Of(
        lambda x, each: each(x[:, :2], x[:, 2:4], x[:, 4:])[:, None],
        nn.TripletMarginWithDistanceLoss(reduction="none", margin=p.uniform(0.5, 2)),
    ),
    "CTCLoss": lambda p: Of(
        lambda x, each: each(
            torch.log_softmax(x.reshape(len(x), 3, 2), 2).transpose(0, 1),
            torch.ones(len(x), 2, dtype=torch.long),
            torch.full((len(x),), 3),
            torch.full((len(x),), 2),
        )[:, None],
        nn.CTCLoss(reduction="none"),
    ),
    "Embedding": lambda p: Of(lambda x, each: each(x.argsort(1)).flatten(1) + x[:, :1], nn.Embedding(6, 2)),
    "EmbeddingBag": lambda p: Of(
        lambda x, each: each(torch.arange(6).expand(len(x), -1), per_sample_weights=x),
        nn.EmbeddingBag(6, 3, mode="sum"),
    ),
}
ON_LINES: dict[str, Make] = {
    "Conv1d": convolved(nn.Conv1d),
    "LazyConv1d": lambda p: nn.LazyConv1d(2, 3),
    "ConvTranspose1d": convolved(nn.ConvTranspose1d),
    "LazyConvTranspose1d": lambda p: nn.LazyConvTranspose1d(2, 2),
    "Conv1d, circular": lambda p: nn.Conv1d(
        2, 2, 3, padding=1, padding_mode=p.choice(["circular", "reflect", "replicate"])
    ),
    "AvgPool1d": pooled(nn.AvgPool1d),
    "MaxPool1d": pooled(nn.MaxPool1d),
    "LPPool1d": lambda p: nn.LPPool1d(2, p.choice([2, 3])),
    "AdaptiveAvgPool1d": lambda p: nn.AdaptiveAvgPool1d(p.randint(2, 5)),
    "AdaptiveMaxPool1d": lambda p: nn.AdaptiveMaxPool1d(p.randint(2, 5)),
    "MaxUnpool1d": lambda p: Of(
        lambda x, pool, back: back(*pool(x)), nn.MaxPool1d(2, return_indices=True), nn.MaxUnpool1d(2)
    ),
    "CircularPad1d": row(nn.CircularPad1d, (1, 2)),
    "ConstantPad1d": row(nn.ConstantPad1d, (1, 2), 0.5),
    "ReflectionPad1d": row(nn.ReflectionPad1d, (1, 2)),
    "ReplicationPad1d": row(nn.ReplicationPad1d, (1, 2)),
    "ZeroPad1d": row(nn.ZeroPad1d, (1, 2)),
    "InstanceNorm1d": lambda p: nn.InstanceNorm1d(2, affine=True, track_running_stats=p.random() < 0.5),
    "LazyInstanceNorm1d": row(nn.LazyInstanceNorm1d),
    "Dropout1d": row(nn.Dropout1d, 0.4),
    "Upsample, linear": lambda p: nn.Upsample(scale_factor=p.choice([2.0, 1.5]), mode=p.choice(["linear", "nearest"])),
}
ON_PLANES: dict[str, Make] = {
    "Conv2d": convolved(nn.Conv2d),
    "LazyConv2d": lambda p: nn.LazyConv2d(2, 3),
    "Conv2d, dilated": lambda p: nn.Conv2d(2, 2, 2, dilation=2),
    "ConvTranspose2d": convolved(nn.ConvTranspose2d),
    "LazyConvTranspose2d": lambda p: nn.LazyConvTranspose2d(2, 2),
    "AvgPool2d": pooled(nn.AvgPool2d),
    "MaxPool2d": pooled(nn.MaxPool2d),
    "LPPool2d": lambda p: nn.LPPool2d(2, p.choice([2, 3])),
    "FractionalMaxPool2d": lambda p: nn.FractionalMaxPool2d(1, output_size=3),
    "AdaptiveAvgPool2d": lambda p: nn.AdaptiveAvgPool2d(p.randint(2, 3)),
    "AdaptiveMaxPool2d": lambda p: nn.AdaptiveMaxPool2d(p.randint(2, 3)),
    "MaxUnpool2d": lambda p: Of(
        lambda x, pool, back: back(*pool(x)), nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    ),
    "CircularPad2d": row(nn.CircularPad2d, 1),
    "ConstantPad2d": row(nn.ConstantPad2d, 1, 0.5),
    "ReflectionPad2d": row(nn.ReflectionPad2d, 1),
    "ReplicationPad2d": row(nn.ReplicationPad2d, 1),
    "ZeroPad2d": row(nn.ZeroPad2d, 1),
    "BatchNorm2d": row(nn.BatchNorm2d, 2),
    "LazyBatchNorm2d": row(nn.LazyBatchNorm2d),
    "InstanceNorm2d": lambda p: nn.InstanceNorm2d(2, affine=p.random() < 0.5),
    "LazyInstanceNorm2d": row(nn.LazyInstanceNorm2d),
    "LocalResponseNorm": row(nn.LocalResponseNorm, 2),
    "CrossMapLRN2d": row(nn.CrossMapLRN2d, 2),
    "Dropout2d": row(nn.Dropout2d, 0.4),
    "Softmax2d": row(nn.Softmax2d),
    "PixelShuffle": lambda p: nn.Sequential(nn.Conv2d(2, 4, 1), nn.PixelShuffle(2)),
    "PixelUnshuffle": row(nn.PixelUnshuffle, 2),
    "ChannelShuffle": row(nn.ChannelShuffle, 2),
    "Upsample": lambda p: nn.Upsample(scale_factor=2, mode=p.choice(["nearest", "bilinear", "bicubic"])),
    "UpsamplingBilinear2d": row(nn.UpsamplingBilinear2d, scale_factor=2),
    "UpsamplingNearest2d": row(nn.UpsamplingNearest2d, scale_factor=2),
    "Unfold": row(nn.Unfold, 2),
    "Fold": lambda p: nn.Sequential(nn.Unfold(2), nn.Fold((4, 4), 2)),
    "GroupNorm on planes": row(nn.GroupNorm, 1, 2),
    "residual block": lambda p: Of(
        lambda x, norm, one, two: torch.relu(x + two(torch.relu(one(norm(x))))),
        nn.GroupNorm(1, 2),
        nn.Conv2d(2, 3, 3, padding=1),
        nn.Conv2d(3, 2, 3, padding=1),
    ),
}
ON_SPACE: dict[str, Make] = {
    "Conv3d": convolved(nn.Conv3d),
    "LazyConv3d": lambda p: nn.LazyConv3d(2, 2),
    "ConvTranspose3d": lambda p: nn.ConvTranspose3d(2, 1, 2),
    "LazyConvTranspose3d": lambda p: nn.LazyConvTranspose3d(1, 2),
    "AvgPool3d": row(nn.AvgPool3d, 2),
    "MaxPool3d": row(nn.MaxPool3d, 2),
    "LPPool3d": row(nn.LPPool3d, 2, 2),
    "FractionalMaxPool3d": row(nn.FractionalMaxPool3d, 1, output_size=2),
    "AdaptiveAvgPool3d": row(nn.AdaptiveAvgPool3d, 2),
    "AdaptiveMaxPool3d": row(nn.AdaptiveMaxPool3d, 2),
    "MaxUnpool3d": lambda p: Of(
        lambda x, pool, back: back(*pool(x), output_size=x.shape),
        nn.MaxPool3d(2, return_indices=True),
        nn.MaxUnpool3d(2),
    ),
    "CircularPad3d": row(nn.CircularPad3d, (1, 0, 0, 1, 0, 0)),
    "ConstantPad3d": row(nn.ConstantPad3d, (1, 0, 0, 1, 0, 0), 0.5),
    "ReflectionPad3d": row(nn.ReflectionPad3d, (1, 0, 0, 1, 0, 0)),
    "ReplicationPad3d": row(nn.ReplicationPad3d, (1, 0, 0, 1, 0, 0)),
    "ZeroPad3d": row(nn.ZeroPad3d, (1, 0, 0, 1, 0, 0)),
    "BatchNorm3d": row(nn.BatchNorm3d, 2),
    "LazyBatchNorm3d": row(nn.LazyBatchNorm3d),
    "InstanceNorm3d": row(nn.InstanceNorm3d, 2),
    "LazyInstanceNorm3d": row(nn.LazyInstanceNorm3d),
    "Dropout3d": row(nn.Dropout3d, 0.4),
}
ON_SEQUENCES: dict[str, Make] = {
    "RNN": lambda p: Of(lambda x, each: first(each(x)), nn.RNN(4, 3, batch_first=True, bidirectional=p.random() < 0.5)),
    "LSTM": lambda p: Of(lambda x, each: first(each(x)), nn.LSTM(4, 3, num_layers=p.choice([1, 2]), batch_first=True)),
    "GRU": lambda p: Of(lambda x, each: first(each(x)), nn.GRU(4, 3, batch_first=True)),
    "MultiheadAttention": lambda p: Of(
        lambda x, each: first(each(x, x, x, need_weights=False)), nn.MultiheadAttention(4, 2, batch_first=True)
    ),
    "MultiheadAttention, weights": lambda p: Of(
        lambda x, each: each(x, x, x)[1], nn.MultiheadAttention(4, 2, batch_first=True)
    ),
    "TransformerEncoderLayer": lambda p: nn.TransformerEncoderLayer(
        4, 2, 5, activation=p.choice(["relu", "gelu"]), batch_first=True, norm_first=p.random() < 0.5
    ),
    "TransformerEncoder": lambda p: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(4, 2, 5, dropout=0.0, batch_first=True), 2, enable_nested_tensor=False
    ),
    "TransformerDecoderLayer": lambda p: Of(
        lambda x, each: each(x, x), nn.TransformerDecoderLayer(4, 2, 5, dropout=0.0, batch_first=True)
    ),
    "TransformerDecoder": lambda p: Of(
        lambda x, each: each(x, x),
        nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 5, dropout=0.0, batch_first=True), 1),
    ),
    "Transformer": lambda p: Of(
        lambda x, each: each(x, x), nn.Transformer(4, 2, 1, 1, 5, dropout=0.0, batch_first=True)
    ),
}
SHAPES: dict[tuple[int, ...], dict[str, Make]] = {
    VECTOR: {**ELEMENTWISE, **ON_VECTORS},
    LINE: ON_LINES,
    PLANE: ON_PLANES,
    SPACE: ON_SPACE,
    SEQUENCE: ON_SEQUENCES,
}
NO_ENCODERS = {  # of torch's list: bases and containers that compute nothing, and a loss that needs a module of its own
    "Container",
    "Module",
    "RNNBase",
    "RNNCellBase",
    "NLLLoss2d",
    "LinearCrossEntropyLoss",
    "LinearCrossEntropyOptions",
}
COUPLED = {  # what couples the examples of a batch, draws numbers, or changes itself, while it trains
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "SyncBatchNorm",
    "RReLU",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "AlphaDropout",
    "FeatureAlphaDropout",
    "TransformerEncoderLayer",
    "spectral_norm",
}
ALWAYS_RANDOM = {"FractionalMaxPool2d", "gumbel_softmax"}
