"""Solutions of docs/course/exercises/contraction.py."""

import torch


def sigmoid_penalty(W, h):
    return ((h * (1 - h)).square() @ W.square().sum(dim=1)).mean()


def tanh_penalty(W, h):
    return ((1 - h.square()).square() @ W.square().sum(dim=1)).mean()


def contraction_ratio(encode, inputs, radius, generator):
    directions = torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype)
    moved = inputs + radius * directions / directions.norm(dim=1, keepdim=True)
    with torch.no_grad():
        return float((encode(moved) - encode(inputs)).norm(dim=1).mean() / radius)
