"""Solutions of docs/course/exercises/spectrum.py."""

import torch

import caelab


def effective_rank(values):
    shares = values / values.sum(dim=1, keepdim=True)
    return torch.special.entr(shares).sum(dim=1).exp()


def leading_tangents(encode, inputs, count):
    jacobians = caelab.jacobian(encode, inputs).dense()  # (examples, code, input)
    return torch.linalg.svd(jacobians.detach())[2][:, :count]


def alignment(found, true):
    return (found @ true.mT).square().sum(dim=(1, 2)) / true.shape[1]
