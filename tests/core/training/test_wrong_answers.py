"""A plugin that answers what its hook does not allow stops its run with one sentence that says whose answer it was."""

from dataclasses import dataclass

import pytest
import torch

from caelab import CaelabError, hookimpl, train
from caelab.registry.catalogue import Catalogue
from caelab.runs.config import Block
from caelab.runs.recipes import recipe_config
from caelab.training.plugins import TrainingPlugins, make_regularizers


def answering(hook, arguments, answer):
    """A plugin that answers one hook with ``answer(argument, ...)``."""
    space = {"answer": answer}
    exec(f"def {hook}(self, {arguments}): return answer({arguments})", space)
    return type("Wrong", (), {hook: hookimpl(space[hook])})()


def refused(config, plugin):
    with pytest.raises(CaelabError) as told:
        train(config, observers={"good": Good(), "mine": plugin})
    assert isinstance(told.value.__cause__, Exception)  # so that `caelab check` takes it for no refusal
    return str(told.value)


class Good:
    @hookimpl
    def penalty_terms(self, code):
        return {"good": code.square().mean()}

    @hookimpl
    def extra_metrics(self, epoch):
        return {"good": epoch}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda code: {"bad": code.sum(1)}, "{bad: float32 (16,)}, but a term is a scalar tensor; sum 'bad' over its"),
        (lambda code: {"bad": 0.5}, "{bad: float}, but a term is a scalar tensor; a number has no gradient"),
        (lambda code: code.sum(), "float32 (), but {name: weighted scalar tensor} is expected"),
        (lambda code: None, "None, but {name: weighted scalar tensor} is expected; return {} where there is no term"),
        (lambda code: {3: code.sum()}, "{3: float32 ()}, but {name: weighted scalar tensor} is expected"),
        (lambda code: {"reconstruction": code.sum()}, "the name 'reconstruction', which is the model's own term"),
        (
            lambda code: {"bad": torch.complex(code.sum(), code.sum())},
            "{bad: complex64 ()}, but a term is a real number; take the real part, or the square of the absolute value",
        ),
        (lambda code: {"bad": torch.tensor(0j)}, "{bad: complex64 ()}, but a term is a real number; take the real"),
        (
            lambda code: {"bad": code.sum().to(torch.float8_e5m2)},
            "{bad: float8_e5m2 ()}, but a term is a real number; compute 'bad' in float32",
        ),
        (
            lambda code: {"bad": code.sum().to("meta")},
            "{bad: float32 ()}, but a term is a real number; a tensor on meta holds none, compute 'bad'",
        ),
        (lambda code: {"bad": torch.zeros((), device="meta")}, "{bad: float32 ()}, but a term is a real number; a "),
        (lambda code: {"bad": torch.tensor(True)}, "the term 'bad', which has no gradient, so it would train nothing"),
        (lambda code: {"bad": torch.tensor(3)}, "the term 'bad', which has no gradient"),
    ],
)
def test_a_wrong_term_is_told_with_plugin_hook_and_epoch(answer, sentence, small):
    told = refused(small("ae"), answering("penalty_terms", "code", answer))
    assert told.startswith(f"plugin 'mine' answers penalty_terms at epoch 1 with {sentence}")


@pytest.mark.parametrize(
    ("answer", "came"),
    [
        (lambda clean: None, "None"),
        (lambda clean: clean[:, :3], "float32 (16, 3)"),
        (lambda clean: clean.double(), "float64 (16, 20)"),
        (lambda clean: clean.numpy(), "ndarray"),
    ],
)
def test_a_wrong_corruption_is_told(answer, came, small):
    told = refused(small("ae"), answering("corrupt_input", "clean", answer))
    expected = f"with {came}, but a corrupted copy of the batch float32 (16, 20) is expected"
    assert told == f"plugin 'mine' answers corrupt_input at epoch 1 {expected}"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda epoch: {"bad": torch.ones(3)}, "{bad: float32 (3,)}, but a metric is a number"),
        (lambda epoch: {"bad": torch.tensor(0j)}, "{bad: complex64 ()}, but a metric is a real number; take the real"),
        (lambda epoch: {"bad": torch.zeros(1, device="meta")}, "{bad: float32 (1,)}, but a metric is a real number; a"),
        (lambda epoch: {"bad": "high"}, "{bad: str}, but a metric is a number; make 'bad' one with float(...)"),
        (lambda epoch: None, "None, but {name: number} is expected; return {} where nothing is measured"),
        (lambda epoch: {"valid_reconstruction": 0.0}, "the name 'valid_reconstruction', which is the core's own"),
        (lambda epoch: {"epoch": 7}, "the name 'epoch', which is the core's own"),
        (lambda epoch: {"train_reconstruction": 0.0}, "the name 'train_reconstruction', which is the core's own"),
    ],
)
def test_a_wrong_metric_is_told(answer, sentence, small):
    told = refused(small("ae", "training.patience=1"), answering("extra_metrics", "epoch", answer))
    assert told.startswith(f"plugin 'mine' answers extra_metrics at epoch 1 with {sentence}")


def test_a_scalar_tensor_is_a_metric_and_is_stored(small, tmp_path):
    plugin = answering("extra_metrics", "inputs", lambda inputs: {"mine": inputs.mean(), "three": torch.tensor([3])})
    run = train(small("ae"), observers={"mine": plugin}, out=tmp_path)
    assert run.metrics[-1]["mine"] == pytest.approx(float(run.dataset.valid_inputs.mean()))
    assert run.metrics[-1]["three"] == 3.0


class Unmarked:
    def penalty_terms(self, code):
        return {"bad": code.sum()}


class HalfMarked(Good):
    def after_epoch(self, epoch):
        raise AssertionError("nobody calls this")


class Idle:
    pass


class Misspelt:
    @hookimpl
    def penalty_term(self, code):
        return {}


class WrongArgument:
    @hookimpl
    def penalty_terms(self, cod):
        return {}


class WithDefault:
    @hookimpl
    def penalty_terms(self, code, epoch=1):
        return {}


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (Unmarked(), "plugin 'mine': penalty_terms has no @hookimpl, so nobody would call it; put the mark above it"),
        (HalfMarked(), "plugin 'mine': after_epoch has no @hookimpl"),
        (Idle(), "plugin 'mine' (Idle) answers no hook of a run, so it would do nothing"),
        (Misspelt(), "plugin 'mine': unknown hook 'penalty_term'; did you mean 'penalty_terms'?"),
        (WrongArgument(), "plugin 'mine': unknown argument of penalty_terms 'cod'; did you mean 'code'?"),
        (WithDefault(), "plugin 'mine': the argument 'epoch' of penalty_terms has a default"),
    ],
)
def test_what_does_not_fit_the_hooks_is_refused_in_one_line(plugin, sentence):
    with pytest.raises(CaelabError) as told:
        TrainingPlugins({"mine": plugin})
    assert str(told.value).startswith(sentence)
    assert "\n" not in str(told.value)


def test_a_marked_method_of_any_name_answers_the_hook_that_its_mark_names():
    class Called:
        @hookimpl(specname="before_epoch")
        def __call__(self, epoch):
            epochs.append(epoch)

    epochs = []
    TrainingPlugins({"mine": Called()}).call("before_epoch", 3, model=None)
    assert epochs == [3]


def test_equal_plugins_are_told_how_to_differ():
    @dataclass
    class Equal(Good):
        weight: float

    with pytest.raises(CaelabError, match=r"equals plugin 'right', .*@dataclass\(eq=False\)"):
        TrainingPlugins({"left": Equal(1.0), "right": Equal(1.0)})


class Fails:
    def __init__(self, weight: float):
        raise KeyError("kaboom")


class Refuses:
    def __init__(self, weight: float):
        raise ValueError("the weight is odd")


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        (Fails, r"regularizer 'mine' cannot be made with the options {'weight': 1.0}: KeyError: 'kaboom'"),
        (Refuses, r"regularizer 'mine': the weight is odd"),
    ],
)
def test_a_regularizer_that_cannot_be_made_is_named(factory, sentence):
    class Offering:
        @hookimpl
        def register_regularizers(self, register):
            register("mine", factory)

    offers = Catalogue()
    offers.add("test", Offering())
    config = recipe_config("ae").model_copy(update={"regularizers": {"mine": Block(kind="mine", weight=1.0)}})
    with pytest.raises(CaelabError, match=f"^{sentence}$"):
        make_regularizers(config, offers)


def test_what_wraps_a_hook_is_named(small):
    class Wrapping:
        @hookimpl(wrapper=True)
        def penalty_terms(self):
            yield
            raise KeyError("lost")

    with pytest.raises(CaelabError, match="plugin 'mine' failed in penalty_terms at epoch 1: KeyError: 'lost'"):
        train(small("ae"), observers={"mine": Wrapping(), "good": Good()})


def test_a_traced_failure_says_what_was_raised(small):
    lines = []
    plugin = answering("before_epoch", "epoch", lambda epoch: 1 / 0)
    with pytest.raises(CaelabError):
        train(small("ae"), observers={"mine": plugin}, trace=lines.append)
    assert lines[-1].endswith("-> ZeroDivisionError: division by zero")


class Marked(torch.Tensor):
    """A tensor of another class."""


@pytest.mark.parametrize(
    "kind",
    [
        torch.Tensor.double,
        torch.Tensor.half,
        torch.Tensor.bfloat16,
        torch.Tensor.to_sparse,
        lambda term: term.as_subclass(Marked),
        lambda term: torch.complex(term, term).conj().real,
    ],
)
def test_a_term_of_another_type_is_a_number_and_trains(kind, small):
    """Its value is the plain term's, as far as its type tells, and so are the weights."""
    terms = [lambda code: {"own": code.square().mean()}, lambda code: {"own": kind(code.square().mean())}]
    runs = [train(small("ae"), regularizers={"mine": answering("penalty_terms", "code", term)}) for term in terms]
    plain, other = [run.metrics[-1]["train_own"] for run in runs]
    assert other == pytest.approx(plain, rel=0.02)
    weights = [run.model.encode[0].weight for run in runs]
    torch.testing.assert_close(*weights, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("kind", [torch.Tensor.to_sparse, lambda clean: clean.to("meta")])
def test_a_corrupted_batch_is_where_and_as_the_batch_is(kind, small):
    told = refused(small("ae"), answering("corrupt_input", "clean", kind))
    assert told.startswith("plugin 'mine' answers corrupt_input at epoch 1 with a batch on ")
    assert told.endswith("but one on cpu, torch.strided, is expected")
