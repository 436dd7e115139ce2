"""Encoders of users: what can be measured, and what is refused with a sentence."""

import numpy as np
import pytest
import torch

import caelab
import caelab.analysis.base
from caelab import CaelabError
from caelab.runs.external import encoder_run

MINE = """
import torch
from torch import nn

class Made(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(20, 3)
    def forward(self, x):
        return self.layer(x)

class Sized(nn.Module):
    def __init__(self, inputs, *, units, bias=True):
        super().__init__()

class Raises(nn.Module):
    def __init__(self):
        raise KeyError("weights.pt")

def factory():
    raise FileNotFoundError("weights.pt")

def number():
    return 3

def halves(x):
    return x[:, :10] / 2

def pair(x):
    return x, x

def classes(x):
    return x.argmax(dim=1)

def mean(x):
    return x.mean()

def array(x):
    return x.numpy()

def square(x):
    return x @ x

class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 3), nn.Dropout(0.5))
        self.decoder = nn.Linear(3, 20)
    def forward(self, x):
        return self.decoder(self.encoder(x))

class Variational(Whole):
    def mean(self, x):
        return self.encoder(x)[:, :2]

class Saying(Whole):
    def encode(self, x):
        return self.encoder(x)

whole = Whole()

class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.Encoder_net, self.dec = nn.Linear(20, 3), nn.Linear(3, 20)

def maker():
    return whole

class Outer:
    class Inner(nn.Linear):
        def __init__(self):
            super().__init__(20, 4)
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    import numpy as np

    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((40, 20)).astype("float32"))
    (tmp_path / "mine.py").write_text(MINE)


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize(
    ("target", "shape"), [("torch:tanh", (28, 20)), ("mine.py:Made", (28, 3)), ("mine.py:halves", (28, 10))]
)
def test_builtins_classes_and_functions_encode(target, shape):
    run = encoder_run(target, "npz:x.npz")
    assert run.encode(run.dataset.inputs[:28]).shape == shape


def test_a_builtin_is_the_function_that_it_is(file):
    run = encoder_run("torch:tanh", "npz:x.npz")
    assert torch.equal(run.encode(run.dataset.inputs), run.dataset.inputs.tanh())


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("mine.py:Sized", "mine.py:Sized is a class that needs inputs, units; give a module that is made already, or"),
        ("mine.py:Raises", "the encoder mine.py:Raises fails when it is made: KeyError: 'weights.pt'"),
        ("mine.py:factory", "the encoder mine.py:factory fails when it is made: FileNotFoundError: weights.pt"),
        ("mine.py:number", "mine.py:number is int, but an encoder maps a batch of inputs to codes"),
        ("mine.py:pair", "the encoder mine.py:pair returns tuple for inputs (2, 20), but a code is a tensor"),
        ("mine.py:classes", "the encoder mine.py:classes returns torch.int64 (2,) for inputs (2, 20), but a code is"),
        ("mine.py:mean", "the encoder mine.py:mean returns torch.float32 () for inputs (2, 20), but a code is"),
        ("mine.py:array", "the encoder mine.py:array returns ndarray for inputs (2, 20), but a code is a tensor"),
        (
            "mine.py:whole",
            "mine.py:whole is a whole auto-encoder, with encoder and decoder, and has no encode that says",
        ),
        (
            "mine.py:Whole",
            "mine.py:Whole is a whole auto-encoder, with encoder and decoder, and has no encode that says",
        ),
        ("mine.py:Holder", "mine.py:Holder is a whole auto-encoder, with Encoder_net and dec,"),
        (
            "mine.py:whole.encdoer",
            "unknown part of mine.py:whole 'encdoer'; did you mean 'encoder'? ",
        ),
        ("mine.py:whole.training", "unknown part of mine.py:whole 'training'"),
        ("mine.py:hwole.encoder", "unknown encoder of mine.py 'hwole'; did you mean 'whole'"),
        ("mine.py:square", "the encoder mine.py:square does not take inputs of shape (2, 20)"),
    ],
)
def test_what_is_no_encoder_is_refused_in_one_sentence(target, sentence):
    with pytest.raises(CaelabError) as told:
        encoder_run(target, "npz:x.npz")
    assert str(told.value).startswith(sentence)
    assert "\n" not in str(told.value)


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize(
    ("target", "width"),
    [
        ("whole.encoder", 3),
        ("Whole.encoder", 3),
        ("maker.encoder", 3),
        ("whole.encoder.0", 3),
        ("Variational.mean", 2),
        ("Saying", 3),
        ("Holder.Encoder_net", 3),
        ("Outer.Inner", 4),
    ],
)
def test_a_part_of_a_module_is_measured_in_evaluation_mode(target, width):
    run = encoder_run(f"mine.py:{target}", "npz:x.npz")
    codes = [run.encode(run.dataset.inputs) for _ in range(2)]
    assert codes[0].shape == (40, width)
    assert torch.equal(*codes)


IMAGES = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    def forward(self, x):
        return self.steps(x)

class Encoding(Net):
    def encode(self, x):
        return 2 * self.steps(x)

torch.manual_seed(0)
net, encoding = Net(), Encoding()
net(torch.zeros(1, 3, 4, 6)), encoding(torch.zeros(1, 3, 4, 6))

def function(x):
    return x[:, 2, 1]

def other(x):
    return x[:, :, :, :, 0]
"""


@pytest.fixture
def colours(tmp_path, monkeypatch):
    """Images (n, height, width, channels) in a file, and encoders that want the channels in front."""
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).random((40, 4, 6, 3)).astype("float32")
    np.savez("colours.npz", x=images)
    (tmp_path / "nets.py").write_text(IMAGES)
    return torch.from_numpy(images)


def test_an_encoder_of_images_gets_them_with_the_channels_in_front(colours):
    run = encoder_run("nets.py:net", "npz:colours.npz")
    net = run.model.encode[1]
    expected = net(colours.movedim(-1, 1)).detach()
    torch.testing.assert_close(run.encode(run.dataset.inputs), expected)
    assert isinstance(run.model.encode, torch.nn.Module)  # its weights are found, and converted for spectra


def test_a_method_and_a_function_of_images_are_encoders_too(colours):
    run = encoder_run("nets.py:function", "npz:colours.npz")
    assert torch.equal(run.encode(run.dataset.inputs), colours[:, 1, :, 2])
    run = encoder_run("nets.py:encoding", "npz:colours.npz")
    expected = 2 * run.model.encode.owner(colours.movedim(-1, 1)).detach()
    torch.testing.assert_close(run.encode(run.dataset.inputs), expected)
    spectrum = caelab.analysis.base.analyse(run, "jacobian_spectrum")
    dense = caelab.jacobian(run.model.encode, run.dataset.valid_inputs).singular_values().mean(dim=0)
    np.testing.assert_allclose(spectrum["mean"], dense.detach(), rtol=1e-4)


def test_what_takes_neither_is_refused_with_both_shapes(colours):
    with pytest.raises(CaelabError, match=r"of shape \(2, 72\): .* nor of shape \(2, 3, 4, 6\): ") as told:
        encoder_run("nets.py:other", "npz:colours.npz")
    assert "\n" not in str(told.value)


DENOISERS = """
import torch
from torch import nn

class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(20, 3), nn.Linear(3, 20)
    def encode(self, x):
        return self.encoder(x)
    def decode(self, h):
        return self.decoder(h)

class Odd(Both):
    def decode(self, h, condition):
        return h

class OfImages(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(3, 3, 3, padding=1)
    def forward(self, x):
        return x + self.inner(x)

def unchanged(x):
    return 1 * x

torch.manual_seed(0)
both, of_images = Both(), OfImages()
"""


@pytest.fixture
def denoisers(file, colours, tmp_path):
    (tmp_path / "denoisers.py").write_text(DENOISERS)
    np.savez(tmp_path / "flat.npz", x=np.random.default_rng(0).random((40, 20)).astype("float32"))


@pytest.mark.usefixtures("denoisers")
def test_a_module_that_decodes_is_a_whole_auto_encoder():
    run = encoder_run("denoisers.py:both", "npz:flat.npz")
    assert run.encode(run.dataset.inputs).shape == (40, 3)
    assert run.reconstruct(run.dataset.inputs).shape == (40, 20)


@pytest.mark.usefixtures("denoisers")
def test_a_decode_that_cannot_be_used_is_said_and_left(caplog):
    run = encoder_run("denoisers.py:Odd", "npz:flat.npz")
    assert run.encode(run.dataset.inputs).shape == (40, 3)
    assert not hasattr(run.model, "decode")
    assert "measured as an encoder alone, since its decode cannot be used: the model Odd fails in decode" in caplog.text


@pytest.mark.usefixtures("denoisers")
def test_a_denoiser_of_colour_images_gives_them_back_in_the_data_s_order():
    run = encoder_run("denoisers.py:unchanged", "npz:colours.npz", denoiser=True)
    assert torch.equal(run.reconstruct(run.dataset.inputs), run.dataset.inputs)
    run = encoder_run("denoisers.py:of_images", "npz:colours.npz", denoiser=True)
    inputs = run.dataset.inputs
    images = inputs.reshape(-1, 4, 6, 3).movedim(3, 1)
    with torch.no_grad():
        expected = run.model.denoise[1](images).movedim(1, 3).flatten(1)
    assert torch.allclose(run.reconstruct(inputs), expected)


@pytest.mark.usefixtures("denoisers")
def test_an_encoder_is_no_denoiser():
    with pytest.raises(CaelabError, match=r"expected from the denoiser mine.py:Made an output of its inputs' shape"):
        encoder_run("mine.py:Made", "npz:flat.npz", denoiser=True)


@pytest.mark.usefixtures("denoisers")
@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("mine.py:number", "mine.py:number is int, but a denoiser maps a batch of inputs to inputs"),
        ("mine.py:Raises", "the denoiser mine.py:Raises fails when it is made: KeyError"),
        ("mine.py:nothing", "unknown denoiser of mine.py 'nothing'"),
        ("mine.py:square", "the denoiser mine.py:square does not take inputs of shape (2, 20)"),
    ],
)
def test_a_denoiser_is_refused_by_that_name(target, sentence):
    with pytest.raises(CaelabError) as told:
        encoder_run(target, "npz:flat.npz", denoiser=True)
    assert str(told.value).startswith(sentence)


@pytest.mark.usefixtures("denoisers")
def test_a_whole_auto_encoder_is_a_denoiser_by_what_it_returns():
    run = encoder_run("mine.py:whole", "npz:flat.npz", denoiser=True)
    with torch.no_grad():
        assert torch.equal(run.reconstruct(run.dataset.inputs), run.model.denoise(run.dataset.inputs))
