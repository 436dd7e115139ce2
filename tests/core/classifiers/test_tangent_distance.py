"""Tangent distance and the tangents behind it, against least squares and singular value decompositions."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

import caelab
from caelab import CaelabError, finetune
from caelab.classifiers import planes
from caelab.classifiers.planes import kept_tangents, plane_name, tangents_of
from caelab.classifiers.tangent_distance import one_sided, two_sided
from caelab.runs.external import EncoderOnly


def orthonormal(*shape, seed):
    stream = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(*shape, generator=stream, dtype=torch.float64).mT).Q.mT


@pytest.fixture
def pairs():
    """Differences (5, 12), and two planes of three dimensions for each."""
    difference = torch.randn(5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return difference, orthonormal(5, 3, 12, seed=1), orthonormal(5, 3, 12, seed=2)


def by_least_squares(difference, *directions):
    """min ‖δ - Aᵀ c‖² over c, the rows of A being all directions."""
    matrix = torch.cat(directions).T.numpy()
    solved = np.linalg.lstsq(matrix, difference.numpy(), rcond=None)[0]
    return np.sum((difference.numpy() - matrix @ solved) ** 2)


def test_one_sided_is_a_least_squares_problem(pairs):
    difference, first, _ = pairs
    expected = [by_least_squares(*each) for each in zip(difference, first, strict=True)]
    np.testing.assert_allclose(one_sided(difference, first).numpy(), expected, rtol=1e-12)


def test_two_sided_is_a_least_squares_problem(pairs):
    expected = [by_least_squares(*each) for each in zip(*pairs, strict=True)]
    found = two_sided(*pairs)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)  # a spring of 1e-6
    assert (found < one_sided(*pairs[:2]) - 1e-3).all()


def test_planes_that_share_directions(pairs):
    difference, first, second = pairs
    second = torch.linalg.qr(torch.cat([first[:, :2], second[:, :1]], dim=1).mT).Q.mT
    expected = [by_least_squares(*each) for each in zip(difference, first, second, strict=True)]
    np.testing.assert_allclose(two_sided(difference, first, second).numpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(two_sided(difference, first, first), one_sided(difference, first), rtol=1e-9)


def test_a_point_on_the_plane_is_at_no_distance(pairs):
    _, first, second = pairs
    moved = first.sum(dim=1) - 2 * second[:, 0]
    assert two_sided(moved, first, second).max() < 1e-4
    assert one_sided(first.sum(dim=1), first).max() < 1e-12


@pytest.fixture(scope="module")
def stack():
    data = {"kind": "digits", "splits": [300, 60, 100]}
    settings = ["training.epochs=1", "model.hidden=[20,12]"]
    return caelab.train(caelab.recipe_config("ae", settings, dataset=data))


@pytest.mark.parametrize("which", ["one layer", "a stack"])
def test_tangents_are_right_singular_vectors(run, stack, which):
    used = run if which == "one layer" else stack
    inputs = used.dataset.train_inputs[:4]
    found = tangents_of(used.model, inputs, 3)
    assert found.dtype == torch.float32
    dense = caelab.jacobian(planes.encoder_in_double(used.model), inputs.double()).dense().detach()
    for directions, matrix in zip(found.double(), dense, strict=True):
        right = torch.linalg.svd(matrix, full_matrices=False).Vh[:3]
        cosines = torch.linalg.svdvals(directions @ right.T)
        assert cosines.min() > 1 - 1e-5  # a sine of 1e-3
        torch.testing.assert_close(directions @ directions.T, torch.eye(3, dtype=torch.float64), atol=1e-5, rtol=0)


def test_tangents_are_computed_once_and_kept(run, tmp_path, monkeypatch):
    inputs = run.dataset.train_inputs[:300]
    plain = tangents_of(run.model, inputs, 3)
    monkeypatch.setattr(planes, "AT_ONCE", 70)
    kept = kept_tangents(run.model, inputs, 3, tmp_path)
    torch.testing.assert_close(kept.mT @ kept, plain.mT @ plain, atol=1e-4, rtol=0)  # a direction has no sign
    monkeypatch.setattr(planes, "tangents_of", None)  # whoever computed them again would fail
    again = kept_tangents(run.model, inputs, 3, tmp_path)
    assert torch.equal(kept, again)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npy", ".sha256"]


def test_damaged_tangents_are_computed_again(run, tmp_path, caplog):
    inputs = run.dataset.train_inputs[:20]
    kept = kept_tangents(run.model, inputs, 3, tmp_path).clone()
    (path,) = tmp_path.glob("tangents-*.npy")
    content = bytearray(path.read_bytes())
    content[-2] ^= 255
    path.write_bytes(bytes(content))
    assert torch.equal(kept_tangents(run.model, inputs, 3, tmp_path), kept)
    assert "is damaged" in caplog.text


def test_where_there_is_little_memory_they_lie_in_a_file(run, monkeypatch):
    inputs = run.dataset.train_inputs[:20]
    plain = tangents_of(run.model, inputs, 3)
    monkeypatch.setattr(planes, "free_memory", lambda: 1000)
    assert torch.equal(kept_tangents(run.model, inputs, 3, None), plain)


def test_an_interrupted_file_is_not_left(run, tmp_path, monkeypatch):
    monkeypatch.setattr(planes, "tangents_of", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        kept_tangents(run.model, run.dataset.train_inputs, 3, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_models_or_inputs_have_other_tangents(run, stack):
    inputs = run.dataset.train_inputs
    other = deepcopy(run.model)  # of the same weights
    other.encode[1] = nn.Tanh()
    plain = [EncoderOnly(lambda x: x.square()), EncoderOnly(lambda x: x.sin())]
    names = [
        plane_name(run.model, inputs, 3),
        plane_name(run.model, inputs, 4),
        plane_name(run.model, inputs[:100], 3),
        *(plane_name(model, inputs, 3) for model in (stack.model, other, *plain)),
    ]
    assert len({*names}) == 7
    assert plane_name(deepcopy(run.model), inputs.clone(), 3) == names[0]


@pytest.mark.parametrize("sides", [1, 2])
def test_neighbours_by_tangent_distance_by_hand(run, sides):
    """Each distance by least squares, over all candidates."""
    options = {"tangents": 3, "sides": sides, "labels": 30, "neighbours": [1]}
    made = finetune(run, method="tangent-nearest-neighbours", **options)
    data = run.dataset
    known, inputs = data.train_inputs[:30].double(), data.test_inputs[:6].double()
    theirs, own = (tangents_of(run.model, x.float(), 3).double() for x in (known, inputs))
    expected = []
    for x, u in zip(inputs, own, strict=True):
        sets = [(u, v) if sides == 2 else (v,) for v in theirs]
        distances = [by_least_squares(x - y, *each) for y, each in zip(known, sets, strict=True)]
        expected.append(int(data.train_labels[np.argmin(distances)]))
    assert made.predict(data.test_inputs[:6]).tolist() == expected


def test_candidates_are_the_nearest_by_euclidean_distance(run):
    made = finetune(run, method="tangent-nearest-neighbours", tangents=3, candidates=1, neighbours=[1])
    plain = finetune(run, method="nearest-neighbours", features="inputs", neighbours=[1])
    assert torch.equal(made.predict(run.dataset.test_inputs), plain.predict(run.dataset.test_inputs))


def test_more_tangents_than_dimensions(run):
    with pytest.raises(CaelabError, match="at most 20 tangents, since the code has 20 dimensions and the input 64"):
        tangents_of(run.model, run.dataset.train_inputs, 21)
