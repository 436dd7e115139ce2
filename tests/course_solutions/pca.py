"""Solutions of docs/course/exercises/pca.py."""

import torch


def pca_error(inputs, count):
    centred = inputs - inputs.mean(dim=0)
    eigenvalues = torch.linalg.eigvalsh(centred.T @ centred / len(inputs))  # ascending
    return float(eigenvalues[: inputs.shape[1] - count].sum())


def largest_angle(first, second):
    one, two = (torch.linalg.qr(rows.T)[0] for rows in (first, second))
    cosines = torch.linalg.svdvals(one.T @ two).clamp(max=1)
    return float(torch.rad2deg(torch.arccos(cosines.min())))
