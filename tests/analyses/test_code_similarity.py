"""Linear CKA against its definition by Gram matrices, its invariances, and what becomes of it in a comparison."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from caelab import NotApplicable, Streams
from caelab.analysis.several import analyse_together, summaries
from caelab_analyses import code_similarity
from caelab_analyses.code_similarity import similarity_matrix
from caelab_analyses.code_similarity.figure import mean_similarities
from tests.drawing import drawn_alike


def codes(seed=0, units=(5, 8), examples=40):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(examples, units[0], generator=generator, dtype=torch.float64)
    mix = torch.randn(units[0], units[1], generator=generator, dtype=torch.float64)
    noise = torch.randn(examples, units[1], generator=generator, dtype=torch.float64)
    return first, first @ mix + noise  # correlated, and of another width


def linear_cka(first, second):
    return similarity_matrix([first, second])[0, 1]


def by_gram_matrices(first, second):
    """HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) with HSIC(K, L) = tr(K H L H) / (n - 1)² (Kornblith et al. 2019, eq. 2)."""
    count = len(first)
    centring = np.eye(count) - np.full((count, count), 1 / count)

    def hsic(k, el):
        return np.trace(k @ centring @ el @ centring) / (count - 1) ** 2

    k, el = first.numpy() @ first.numpy().T, second.numpy() @ second.numpy().T
    return hsic(k, el) / np.sqrt(hsic(k, k) * hsic(el, el))


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_alignment_of_centred_gram_matrices(seed):
    first, second = codes(seed)
    expected = by_gram_matrices(first + 3.0, second - 1.0)  # means do not matter
    assert float(linear_cka(first, second)) == pytest.approx(expected, rel=1e-12)
    matrix = similarity_matrix([first, second])
    assert float(matrix[1, 0]) == float(matrix[0, 1])
    assert matrix.diagonal().tolist() == pytest.approx([1.0, 1.0], rel=1e-14)


def test_rotations_scales_and_the_order_of_units_do_not_matter_but_other_maps_do():
    first, second = codes()
    rotation = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0]
    known = float(linear_cka(first, second))
    assert float(linear_cka(first, 7 * second @ rotation + 2)) == pytest.approx(known, rel=1e-12)
    assert float(linear_cka(first, second.flip(1))) == pytest.approx(known, rel=1e-12)
    squeezed = second * torch.logspace(0, 2, 8, dtype=torch.float64)
    assert float(linear_cka(first, squeezed)) != pytest.approx(known, rel=1e-3)


def test_units_without_correlation_have_similarity_zero():
    waves = torch.linspace(0, 2 * torch.pi, 65, dtype=torch.float64)[:-1]
    assert float(linear_cka(waves.sin()[:, None], waves.cos()[:, None])) == pytest.approx(0, abs=1e-28)


def test_its_gradient_is_that_of_central_differences():
    first, second = codes(examples=12)
    assert torch.autograd.gradcheck(linear_cka, (first.requires_grad_(), second.requires_grad_()))


def test_every_pair_of_runs_is_compared_on_the_same_examples(tiny_runs):
    runs = [tiny_runs["ae"], tiny_runs["cae"]]
    table = code_similarity.compare(runs, Streams(0), examples=20)
    assert len(table) == 4
    inputs = runs[0].dataset.valid_inputs[:20]
    expected = by_gram_matrices(*(run.encode(inputs).double() for run in runs))
    found = table.set_index(["model", "other model"])["similarity"]
    assert found["ae", "cae"] == pytest.approx(expected, rel=1e-9)
    assert found["ae", "ae"] == pytest.approx(1)


def made_up():
    rows = [("a", 0, "a", 0, 1.0), ("a", 0, "a", 1, 0.8), ("a", 0, "b", 0, 0.2), ("a", 0, "b", 1, 0.4)]
    rows += [("a", 1, "a", 0, 0.8), ("a", 1, "a", 1, 1.0), ("a", 1, "b", 0, 0.3), ("a", 1, "b", 1, 0.5)]
    return pd.DataFrame(rows, columns=["model", "seed", "other model", "other seed", "similarity"])


def test_a_run_is_summed_up_by_its_other_seeds_and_by_other_models():
    first, second = summaries("code_similarity", [], [made_up()], [("a", 0), ("a", 1)])
    assert first == {"CKA between seeds": 0.8, "CKA with other models": pytest.approx(0.3)}
    assert second == {"CKA between seeds": 0.8, "CKA with other models": pytest.approx(0.4)}


def test_a_run_with_itself_counts_nowhere_in_the_figure():
    means = mean_similarities(made_up())
    assert means.loc["a", "a"] == pytest.approx(0.8)
    assert means.loc["a", "b"] == pytest.approx(0.35)


def test_the_figure_has_a_number_for_every_two_models(tiny_runs):
    table = analyse_together([tiny_runs["ae"], tiny_runs["cae"]], "code_similarity")
    figure = drawn_alike(code_similarity.draw, table)
    assert isinstance(figure, Figure)
    expected = f"{mean_similarities(table).loc['ae', 'cae']:.2f}"
    shown = [(*text.get_position(), text.get_text()) for text in figure.axes[0].texts]
    assert shown == [(1.5, 0.5, expected), (0.5, 1.5, expected)]  # one seed each: a model is not compared with itself
    assert {text.get_color() for text in figure.axes[0].texts} == {".15"}  # dark on every shade of the palette
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["AE", "CAE"]


def test_one_run_alone_has_nothing_to_be_compared_with(tiny_runs):
    with pytest.raises(NotApplicable, match="there is one run only"):
        code_similarity.compare([tiny_runs["ae"]], Streams(0))


def test_rows_of_one_model_alone_can_be_drawn_against_all_others():
    (axes, _) = code_similarity.draw(made_up()).axes  # of the two models only the first has rows of its own
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a"]
