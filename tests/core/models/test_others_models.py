"""Models as others write them: what takes images, returns more than a code, shares weights or is float64 trains too."""

import logging
import sys
from collections import namedtuple
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import distributions, nn

from caelab import CaelabError, Dataset, hookimpl, jacobian, load_run, recipe_config, train
from caelab.data import make_dataset
from caelab.data.samples import Samples
from caelab.models.adapted import adapted
from caelab.models.ranges import range_of

SETTINGS = ["training.epochs=2", "training.batch_size=20", "training.reconstruction=squared-error"]
Two = namedtuple("Two", "mean logvar")


def config(*settings, recipe="ae"):
    return recipe_config(recipe, [*SETTINGS, *settings], dataset={"kind": "digits", "splits": [101, 40, 40]})


class Model(nn.Module):
    """A small linear model; others change what they need."""

    def __init__(self, code=5, back=64):
        super().__init__()
        self.first, self.second = nn.Linear(64, code), nn.Linear(code, back)

    def encode(self, x):
        return torch.tanh(self.first(x))

    def decode(self, h):
        return self.second(h)


class SharedParameter(Model):
    """The decoder's weight is the encoder's, registered twice."""

    def __init__(self):
        super().__init__()
        self.back = nn.Linear(5, 64)
        self.back.weight = nn.Parameter(self.first.weight.detach().T.contiguous())
        self.second = self.back


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(64, 64), nn.Linear(64, 64)
        self.decode.weight = self.encode.weight


class LayerTwice(nn.Module):
    def __init__(self):
        super().__init__()
        middle = nn.Linear(6, 6)
        self.encode = nn.Sequential(nn.Linear(64, 6), nn.Tanh(), middle, nn.Tanh(), middle)
        self.decode = nn.Sequential(middle, nn.Tanh(), nn.Linear(6, 64))


class ViewOfBuffer(Model):
    def __init__(self):
        super().__init__()
        self.register_buffer("all", torch.arange(10.0))
        self.register_buffer("front", self.all[:5])


class NotContiguous(Model):
    def __init__(self):
        super().__init__()
        self.first.weight = nn.Parameter(self.first.weight.detach().T.contiguous().T)


class Images(nn.Module):
    """Convolutions there and back, on (batch, 1, 8, 8)."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Conv2d(1, 3, 4, stride=2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(48, 7))
        self.decode = nn.Sequential(nn.Linear(7, 64), nn.Unflatten(1, (1, 8, 8)))


class ImagesByMethods(Images):
    def __init__(self):
        nn.Module.__init__(self)
        made = Images()
        self.there, self.back = made.encode, made.decode

    def encode(self, images):
        assert images.shape[1:] == (1, 8, 8)
        return self.there(images)

    def decode(self, code):
        return self.back(code)


class Signals(nn.Module):
    example_shape = (4, 16)

    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Conv1d(4, 2, 3), nn.Flatten(), nn.Linear(28, 5))
        self.decode = nn.Sequential(nn.Linear(5, 64), nn.Unflatten(1, (4, 16)))


class Returning(Model):
    """Its ``encode`` returns what a subclass makes of two tensors."""

    def encode(self, x):
        code = torch.tanh(self.first(x))
        return self.made(code, 2 * code)


class Tuple(Returning):
    code_part = 0

    def made(self, mean, logvar):
        return mean, logvar


class List(Returning):
    code_part = 1

    def made(self, mean, logvar):
        return [logvar, mean]


class Dictionary(Returning):
    code_part = "mean"

    def made(self, mean, logvar):
        return {"logvar": logvar, "mean": mean}


class Named(Returning):
    code_part = "mean"

    def made(self, mean, logvar):
        return Two(mean, logvar)


@dataclass
class Output:
    logvar: torch.Tensor
    mean: torch.Tensor


class DataClass(Returning):
    code_part = "mean"

    def made(self, mean, logvar):
        return Output(logvar, mean)


class Attributes(Returning):
    code_part = "mean"

    def made(self, mean, logvar):
        return SimpleNamespace(mean=mean, logvar=logvar)


class Double(Model):
    def __init__(self):
        super().__init__()
        self.double()


class DoubleChain(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Sequential(nn.Linear(64, 5), nn.Sigmoid()).double(), nn.Linear(5, 64).double()


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(64, 5), nn.BatchNorm1d(5), nn.Tanh())
        self.decode = nn.Linear(5, 64)


class LazyOne(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Sequential(nn.LazyLinear(5), nn.Tanh()), nn.LazyLinear(64)


class LazyImages(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.LazyConv2d(3, 4, stride=2), nn.Flatten(), nn.LazyLinear(5))
        self.decode = nn.Sequential(nn.LazyLinear(64), nn.Unflatten(1, (1, 8, 8)))


class ImageBack(Model):
    def decode(self, h):
        return self.second(h).reshape(-1, 1, 8, 8)


EVERY = [
    SharedParameter, Tied, LayerTwice, ViewOfBuffer, NotContiguous, Images, ImagesByMethods, Signals, Tuple, List,
    Dictionary, Named, DataClass, Attributes, Double, DoubleChain, Normed, LazyOne, LazyImages, ImageBack,
]  # fmt: skip


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_it_trains_is_stored_and_is_read_back(kind, tmp_path):
    torch.manual_seed(1)
    given = kind()
    before = {name: value.clone() for name, value in given.state_dict().items() if not nn.parameter.is_lazy(value)}
    run = train(config(), model=given, out=tmp_path)
    assert run.metrics[1]["valid_reconstruction"] < run.metrics[0]["valid_reconstruction"]
    again = load_run(run.path, model=given)
    load_run(run.path, model=given, dataset=run.dataset)
    inputs = run.dataset.test_inputs
    assert run.reconstruct(inputs).shape == inputs.shape
    assert run.encode(inputs).shape[0] == len(inputs)
    assert torch.equal(run.reconstruct(inputs), again.reconstruct(inputs))
    error = (run.reconstruct(inputs) - inputs).square().sum(dim=1)
    torch.testing.assert_close(run.reconstruction_error(inputs), error, rtol=1e-6, atol=1e-6)
    norm = jacobian(run.model.encode, inputs[:3]).squared_norm()
    dense = jacobian(run.model.encode, inputs[:3]).dense()
    torch.testing.assert_close(norm, dense.square().flatten(1).sum(dim=1), rtol=1e-4, atol=1e-6)
    assert [*run.model.state_dict()] == [*given.state_dict()]  # under the names that the user knows
    for name, value in before.items():
        assert torch.equal(given.state_dict()[name], value)  # and the user's own object stays as it was


@pytest.mark.parametrize("kind", [Images, Tuple, Double, Normed], ids=lambda kind: kind.__name__)
def test_it_goes_on_after_an_interruption(kind, tmp_path):
    torch.manual_seed(1)
    given = kind()

    class Interrupt:
        @hookimpl
        def before_epoch(self, epoch):
            if epoch == 2:
                raise KeyboardInterrupt

    unbroken = train(config(), model=given)
    with pytest.raises(KeyboardInterrupt):
        train(config(), model=given, out=tmp_path, observers={"stop": Interrupt()})
    resumed = train(config(), model=given, out=tmp_path)
    assert resumed.metrics == unbroken.metrics


def test_a_float64_model_is_trained_in_float64():
    torch.manual_seed(1)
    seen = set()

    class Seeing:
        @hookimpl
        def penalty_terms(self, clean, code, encoder_jacobian):
            seen.update((clean.dtype, code.dtype, encoder_jacobian.squared_norm().dtype))
            return {"mine": encoder_jacobian.squared_norm().mean()}

    run = train(config(), model=DoubleChain(), observers={"mine": Seeing()})
    assert seen == {torch.float64}
    assert run.dataset.inputs.dtype == torch.float64


def test_images_of_several_channels_are_turned_for_the_model():
    """Data with the channels last, a model with the channels in front: every number is where it belongs."""
    pictures = torch.rand(30, 4, 6, 3)
    data = make_dataset("colours", Samples(pictures.flatten(1), image_shape=(4, 6, 3)), splits=(20, 5, 5))
    seen = []

    class Colours(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Conv2d(3, 3, 1)

        def encode(self, images):
            seen.append(images)
            return self.net(images)

        def decode(self, code):
            return code

    model = adapted(Colours(), data.inputs, data.image_shape)
    nn.init.dirac_(model.net.weight)
    nn.init.zeros_(model.net.bias)
    code = model.encode(pictures.flatten(1))
    assert torch.equal(seen[-1], pictures.permute(0, 3, 1, 2))
    assert torch.equal(model.decode(code), pictures.flatten(1))


@pytest.mark.parametrize("kind", [Tuple, Images], ids=lambda kind: kind.__name__)
def test_by_name_and_by_an_option(kind, monkeypatch, tmp_path):
    module = ModuleType("models_of_others")
    monkeypatch.setitem(sys.modules, "models_of_others", module)
    plain = type("Plain", (kind,), {"code_part": None})
    module.Plain = plain
    option = ["model.code_part=0"] if kind is Tuple else ["model.example_shape=[1, 8, 8]"]
    asked = recipe_config(
        "ae",
        [*SETTINGS, *option],
        model={"kind": "models_of_others:Plain"},
        dataset={"kind": "digits", "splits": [101, 40, 40]},
    )
    run = train(asked, out=tmp_path)
    assert torch.equal(load_run(run.path).encode(run.dataset.test_inputs), run.encode(run.dataset.test_inputs))
    assert "code_part" not in config().as_dict()["model"]


class Wide(Model):
    def __init__(self):
        super().__init__(back=65)


class NoTuple(Tuple):
    code_part = None


class NoDictionary(Dictionary):
    code_part = None


class WrongPart(Dictionary):
    code_part = "z"


class WrongPlace(Tuple):
    code_part = 5


class WholeNumbers(Model):
    def encode(self, x):
        return super().encode(x).argmax(dim=1)


class OneForAll(Model):
    def encode(self, x):
        return super().encode(x).mean(dim=0)


class Mismatch(Model):
    def __init__(self):
        super().__init__()
        self.second = nn.Linear(6, 64)


class NarrowInput(Model):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(63, 5)


class Exits(Model):
    def encode(self, x):
        sys.exit(2)


class ReturnsPair(Model):
    def decode(self, h):
        return self.second(h), h


class Text(Model):
    def encode(self, x):
        return "code"


class ReturnsNormal(Model):
    def encode(self, x):
        return distributions.Normal(super().encode(x), 1.0)


class ReturnsCategorical(Model):
    def encode(self, x):
        return distributions.OneHotCategorical(logits=super().encode(x))


class ReturnsCauchy(Model):
    """It has no mean."""

    def encode(self, x):
        return distributions.Cauchy(super().encode(x), 1.0)


class WrongShape(Signals):
    example_shape = (3, 16)


class Half(Model):
    def __init__(self):
        super().__init__()
        self.bfloat16()


WRONG = [
    (Half, r"expected parameters in float32 or float64, but those of Half are bfloat16; give model.float\(\)"),
    (Wide, r"expected from decode of Wide a reconstruction of the inputs' shape \(2, 64\), but float32 \(2, 65\) came"),
    (NoTuple, r"encode, but that of NoTuple returns tuple \(0: float32 \(2, 5\), 1: float32 .* code_part = 0"),
    (
        NoDictionary,
        r"that of NoDictionary returns dict \('logvar': .*; say which is the code, .* model.code_part=logvar",
    ),
    (WrongPart, r"code_part is 'z', but encode of WrongPart returns dict with \['logvar', 'mean'\]"),
    (WrongPlace, r"code_part is 5, but encode of WrongPlace returns tuple with \[0, 1\]"),
    (WholeNumbers, r"expected a code of real numbers from encode of WholeNumbers, but int64 \(2,\) came"),
    (OneForAll, r"expected one code per example from encode of OneForAll, .* but float32 \(5,\) came for 2 examples"),
    (Mismatch, r"the model Mismatch fails in decode on a code float32 \(2, 5\): RuntimeError: mat1 and mat2"),
    (
        NarrowInput,
        r"the model NarrowInput fails in encode on float32 \(2, 64\): RuntimeError: .*let encode take a batch",
    ),
    (Exits, r"the model Exits fails in encode on float32 \(2, 64\): SystemExit: 2"),
    (ReturnsPair, r"expected from decode of ReturnsPair a reconstruction .*, but tuple came"),
    (
        Text,
        r"expected one tensor from encode, but that of Text returns str; let it return the code as a tensor of real",
    ),
    (ReturnsNormal, r"returns Normal \('mean': .*\); let it return .mean of the distribution, .* code_part = 'mean'"),
    (ReturnsCategorical, r"returns OneHotCategorical .*; let it return .mean of the distribution, or say"),
    (ReturnsCauchy, r"returns Cauchy \('loc': .*\); let it return .loc of the distribution, .*model.code_part=loc"),
    (WrongShape, r"the model WrongShape fails in encode on examples of shape \(3, 16\): RuntimeError"),
]


@pytest.mark.parametrize(("kind", "sentence"), WRONG, ids=[kind.__name__ for kind, _ in WRONG])
def test_what_does_not_fit_is_told_before_training(kind, sentence):
    with pytest.raises(CaelabError, match=sentence) as told:
        train(config(), model=kind(), observers={"never": SimpleNamespace(before_epoch=never)})
    assert "\n" not in str(told.value)


def test_a_distribution_is_encoded_by_the_part_that_was_advised():
    model = adapted(ReturnsNormal(), torch.rand(4, 64), code_part="mean")
    assert torch.equal(model.encode(torch.ones(4, 64)), model.inner.encode(torch.ones(4, 64)).mean)
    with pytest.raises(CaelabError, match=r"to Normal; expected .*; return a tensor of it, as its \.mean"):
        jacobian(ReturnsNormal().encode, torch.rand(4, 64)).squared_norm()


@hookimpl
def never(epoch):
    raise AssertionError("an epoch was spent")


def test_the_last_example_is_left_out_where_batch_normalisation_needs_two(caplog):
    """101 examples in batches of 20: the sixth would hold one."""
    sizes = []

    class Seeing:
        @hookimpl
        def penalty_terms(self, clean):
            sizes.append(len(clean))
            return {}

    with caplog.at_level(logging.WARNING, "caelab"):
        run = train(config("training.epochs=1"), model=Normed(), observers={"seeing": Seeing()})
    assert sizes == [20] * 5
    assert "the last of 6 batches of each epoch would hold one example" in caplog.text
    plain = train(config("training.epochs=1", "training.batch_size=1"), model=Model(), observers={"seeing": Seeing()})
    assert sizes[5:] == [1] * 101
    assert run.metrics[0]["train_reconstruction"] > 0
    assert plain.metrics[0]["train_reconstruction"] > 0


def test_batches_of_one_are_refused_where_batch_normalisation_needs_two():
    with pytest.raises(CaelabError, match="Normed cannot be trained on a single example at a time"):
        train(config("training.batch_size=1"), model=Normed())


def test_the_mean_of_an_epochs_terms_is_over_the_examples_that_were_trained_on():
    torch.manual_seed(0)
    seen = []

    class Seeing:
        @hookimpl
        def after_batch(self, terms):
            seen.append(terms["reconstruction"])

    run = train(config("training.epochs=1"), model=Normed(), observers={"seeing": Seeing()})
    assert run.metrics[0]["train_reconstruction"] == pytest.approx(sum(seen) / len(seen))


class Late(Model):
    """Fails in training only."""

    def encode(self, x):
        if self.training:
            raise KeyError("lost")
        return super().encode(x)


class Detached(Model):
    def encode(self, x):
        return super().encode(x).detach()

    def decode(self, h):
        return super().decode(h).detach()


class InPlace(Model):
    def encode(self, x):
        h = torch.sigmoid(self.first(x))
        h.mul_(2)
        return h


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Late, "the model Late failed in training at epoch 1, step 1: KeyError: 'lost'"),
        (Detached, "the loss of Detached depends on none of its trainable parameters"),
        (InPlace, "the gradient of the loss cannot be computed at epoch 1 .*modified by an inplace operation"),
    ],
)
def test_a_model_that_fails_in_training_is_told_in_a_sentence(kind, sentence):
    with pytest.raises(CaelabError, match=sentence) as told:
        train(config(), model=kind())
    assert "\n" not in str(told.value)


def far(scale, shift):
    inputs = torch.rand(60, 20) * scale + shift
    inputs[0, 0], inputs[0, 1] = shift, shift + scale
    return make_dataset("far", Samples(inputs), splits=(40, 10, 10))


def squared(output):
    settings = ["training.reconstruction=squared-error", f"model.output={output}", "training.epochs=1"]
    return recipe_config("ae", [*settings, "model.hidden=[4]"])


@pytest.mark.parametrize(
    ("output", "bounds", "scale", "shift"),
    [
        ("sigmoid", r"\[0, 1\]", 15, -3),
        ("tanh", r"\[-1, 1\]", 15, -3),
        ("relu", r"\[0, inf\]", 15, -3),
        ("softplus", r"\[.*, inf\]", 15, -3),
        ("relu6", r"\[0, 6\]", 15, 0),
        ("hardtanh", r"\[-1, 1\]", 4, 0),
        ("hardsigmoid", r"\[0, 1\]", 4, 0),
        ("logsigmoid", r"\[-inf, .*\]", 4, 0),
        ("softsign", r"\[-.*\]", 4, 0),
        ("elu", r"\[-1, inf\]", 15, -9),
    ],
)
def test_an_output_that_cannot_reach_the_data_is_refused(output, bounds, scale, shift):
    with pytest.raises(CaelabError, match=rf"^the inputs lie in \[.*\], but every reconstruction .* lies in {bounds}"):
        train(squared(output), dataset=far(scale, shift))


@pytest.mark.parametrize(
    ("output", "scale", "shift"),
    [("identity", 15, -3), ("sigmoid", 1, 0), ("tanh", 2, -1), ("leaky-relu", 15, -3), ("relu", 15, 0)],
)
def test_one_that_can_is_not(output, scale, shift, caplog):
    train(squared(output), dataset=far(scale, shift))
    assert "lie in" not in caplog.text


def test_a_little_beyond_is_told(caplog):
    with caplog.at_level(logging.WARNING, "caelab"):
        train(squared("sigmoid"), dataset=far(1.05, -0.02))
    assert "every reconstruction of Autoencoder lies in [0, 1], since it ends in Sigmoid" in caplog.text


class Functional(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(20, 4), nn.Linear(4, 20), last

    def encode(self, x):
        return self.first(x)

    def decode(self, h):
        return self.last(self.second(h)).reshape(len(h), 20)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (torch.sigmoid, (0, 1)),
        (torch.tanh, (-1, 1)),
        (torch.relu, (0, float("inf"))),
        (lambda z: torch.softmax(z, dim=1), (0, 1)),
        (nn.functional.softplus, (0, float("inf"))),
        (lambda z: z, (-float("inf"), float("inf"))),
        (lambda z: 3 * torch.sigmoid(z), (0, 3)),
    ],
)
def test_an_output_that_is_no_module_is_known_by_its_operation(last, expected):
    model = Functional(last)
    assert range_of(model, torch.rand(2, 20))[0] == expected
    if expected == (0, 1):
        with pytest.raises(CaelabError, match="every reconstruction of Functional"):
            train(squared("identity"), model=model, dataset=far(15, -3))


def test_a_sigmoid_behind_shapes_and_nested_chains_counts_as_the_output():
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode = nn.Linear(64, 4)
            self.decode = nn.Sequential(
                nn.Linear(4, 64), nn.Sequential(nn.Sigmoid(), nn.Unflatten(1, (8, 8))), nn.Flatten()
            )

        def logits(self, code):
            return self.decode[0](code)

    run = train(recipe_config("ae", ["training.epochs=1"], dataset={"kind": "digits"}), model=Nested())
    assert len(run.metrics) == 1


def test_a_gradient_that_is_not_finite_is_not_blamed_on_the_next_term():
    class Root:
        @hookimpl
        def penalty_terms(self, code):
            return {"root": (0 * code).sum().sqrt()}

    with pytest.raises(
        CaelabError, match="the weights became NaN or infinite before epoch 1, step 2: a term of the loss"
    ):
        train(config(), observers={"root": Root()})


def test_a_penalty_that_cannot_be_differentiated_is_named():
    class Divides:
        @hookimpl
        def penalty_terms(self, code):
            return {"other": code.mean(), "floor": (code // 0.3).mean()}

    class Good:
        @hookimpl
        def penalty_terms(self, code):
            return {"good": code.mean()}

    with pytest.raises(
        CaelabError, match="plugin 'mine' answers penalty_terms at epoch 1 with the term 'floor', whose"
    ):
        train(config(), observers={"mine": Divides(), "good": Good()})


def test_a_penalty_that_calls_backward_is_named():
    class Backward:
        @hookimpl
        def penalty_terms(self, reconstruction):
            reconstruction.square().mean().backward()
            return {}

    with pytest.raises(CaelabError, match=r"plugin 'mine' in penalty_terms at epoch 1 calls backward\(\), which frees"):
        train(config("model.output=identity"), observers={"mine": Backward()})


def test_the_data_set_of_a_float32_run_is_the_one_that_was_given():
    data = far(1, 0)
    assert isinstance(data, Dataset)
    assert train(squared("sigmoid"), dataset=data).dataset is data
