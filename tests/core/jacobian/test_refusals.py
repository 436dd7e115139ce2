import pytest
import torch
from torch import nn

from caelab import CaelabError
from caelab.jacobian.service import jacobian

X = torch.rand(5, 6)


class Centred(nn.Module):
    """Subtracts the batch's mean: no example stands alone."""

    def forward(self, inputs):
        return inputs - inputs.mean(dim=0)


class Shaky(nn.Module):
    """Draws dropout masks by the function, which no look at the modules finds."""

    def forward(self, inputs):
        return nn.functional.dropout(inputs, 0.5, training=True)


REFUSED = {
    "batch norm": (
        nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)), X, r"1 \(BatchNorm1d\) normalises by the batch.*\.eval\(\)"
    ),
    "batch norm without statistics": (
        nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, track_running_stats=False)).eval(), X, "normalises by"
    ),
    "dropout": (
        nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.1)), X, r"1 \(Dropout\) drops units at random.*\.eval\(\)"
    ),
    "mixing": (Centred(), X, "the output of Centred at one example depends on the batch's other examples"),
    "chance": (Shaky(), X, "the output of Shaky at one example depends on chance"),
    "integers": (nn.Linear(6, 3), torch.ones(5, 6, dtype=torch.int64), r"but torch.int64 came.*\.float"),
    "no batch": (nn.Linear(6, 3), X[0], r"shape \(6,\) came; add a batch axis"),
    "no examples": (nn.Linear(6, 3), X[:0], r"at least one example, but shape \(0, 6\) came"),
    "no tensor": (nn.Linear(6, 3), X.numpy(), "expected inputs as a tensor .* but ndarray came"),
    "sum over the batch": (lambda x: x.sum(), X, r"maps inputs \(5, 6\) to \(\).*expected an output \(batch, \*code\)"),
    "whole numbers out": (lambda x: (x > 0.5).long(), X, "returns torch.int64, which has no derivative"),
}  # fmt: skip


@pytest.mark.parametrize(("encode", "inputs", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_right_is_refused_with_the_remedy(encode, inputs, message):
    with pytest.raises(CaelabError, match=message):
        jacobian(encode, inputs).squared_norm()


def test_the_same_modules_in_evaluation_mode_are_welcome():
    encode = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.Dropout(0.1), nn.Sigmoid()).eval()
    assert jacobian(encode, X).squared_norm().shape == (5,)


def test_a_gradient_that_nothing_can_take_is_refused():
    with pytest.raises(CaelabError, match="parameters of Sigmoid was asked for, but it has no parameters"):
        jacobian(nn.Sigmoid(), X, gradients=True).squared_norm()
    frozen = nn.Linear(6, 3).requires_grad_(False)
    with pytest.raises(CaelabError, match=r"parameters of Linear .* but its 2 parameters are all frozen"):
        jacobian(frozen, X, gradients=True).squared_norm()
    assert jacobian(frozen, X).squared_norm().shape == (5,)


def test_products_of_another_shape():
    with pytest.raises(CaelabError, match=r"vectors of shape \(5, 6\).*\(5, 3\) came"):
        jacobian(nn.Linear(6, 3), X).jvp(torch.rand(5, 3))
    with pytest.raises(CaelabError, match=r"covectors of shape \(5, 3\).*\(4, 3\) came"):
        jacobian(nn.Linear(6, 3), X).vjp(torch.rand(4, 3))
