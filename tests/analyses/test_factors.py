import pytest
import torch
from torch.testing import assert_close

from caelab_analyses.twin_training.factors import Product


def products(width, middle):
    stream = torch.Generator().manual_seed(width)
    return [
        Product(*(torch.randn(3, *shape, generator=stream, dtype=torch.float64) for shape in shapes))
        for shapes in [((width, middle), (middle, width))] * 2
    ]


@pytest.mark.parametrize(("width", "middle"), [(7, 3), (2, 9), (4, 4)])
def test_a_product_equals_the_matrix_multiplied_out(width, middle):
    first, second = products(width, middle)
    whole, other = (p.outer @ p.inner for p in (first, second))
    values, rows = first.singular()
    assert_close(values, torch.linalg.svdvals(whole)[:, : min(width, middle)])
    assert_close(rows @ rows.mT, torch.eye(min(width, middle), dtype=torch.float64).expand(3, -1, -1))
    assert_close((whole @ rows.mT).norm(dim=1), values)
    assert first.relative_distance(second) == pytest.approx(((whole - other).norm() / other.norm()).item())
    assert first.relative_distance(first) == pytest.approx(0, abs=1e-7)
