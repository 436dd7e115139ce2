"""Torch's own modules and functions: no wrong number, no raw trace, and no refusal but of what cannot be answered."""

import warnings

import pytest
from torch import nn

from caelab.jacobian.service import Jacobian
from tests.core.jacobian.battery.modules import COUPLED, NO_ENCODERS, SHAPES
from tests.core.jacobian.battery.questions import asked, cases

NO_SECOND_DERIVATIVE = {  # of these torch itself has none: their gradients are refused, and the operator is named
    "Hardsigmoid": "hardsigmoid",
    "MultiMarginLoss": "multi_margin_loss",
    "multi_margin": "multi_margin_loss",
    "MultiLabelMarginLoss": "multilabel_margin_loss",
    "CTCLoss": "ctc_loss",
    "EmbeddingBag": "embedding_bag",
    "cdist": "cdist",
    "cdist, p 1": "cdist",
    "cdist, p 3": "cdist",
    "rbf": "cdist",
    "pdist of each": "pdist",
    "CrossMapLRN2d": "CrossMapLRN2d",
}
NO_DERIVATIVE = {"conv_tbc": "ConvTbc"}  # torch's backward pass of it takes no gradient that comes transposed


@pytest.mark.parametrize("make", list(cases()), ids=str)
def test_every_question_about_an_encoder_is_answered_right_or_refused_for_cause(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = list(asked(make()))
    faults = [answer for answer in answers if not _is_sound(make.name, answer)]
    assert not faults, "\n".join(map(str, faults))
    assert answers or make.training


def _is_sound(name, answer):
    if answer.verdict == "refused" and name in NO_DERIVATIVE:
        return NO_DERIVATIVE[name] in answer.detail
    if answer.verdict == "refused":
        operator = NO_SECOND_DERIVATIVE.get(name)
        return operator is not None and "gradient" in answer.question and operator in answer.detail
    return answer.verdict in ("right", "rightly refused")


def test_every_module_of_torch_is_tried():
    tried = {name for offered in SHAPES.values() for name in offered}
    assert not {*nn.modules.__all__} - tried - NO_ENCODERS
    assert tried >= COUPLED


def test_an_answer_that_is_off_by_a_millionth_is_noticed(monkeypatch):
    exact = Jacobian.squared_norm
    monkeypatch.setattr(
        Jacobian, "squared_norm", lambda self, *given, **named: exact(self, *given, **named) * (1 + 1e-6)
    )
    case = next(make for make in cases() if make.name == "Tanh")()
    wrong = {answer.question for answer in asked(case) if answer.verdict == "wrong"}
    assert {"squared_norm, batch 1", "squared_norm, small budget, batch 7", "gradient, batch 7"} <= wrong
