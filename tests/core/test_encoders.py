"""Encoders of users: what can be measured, and what is refused with a sentence."""

import pytest
import torch

from caelab import CaelabError
from caelab.encoders import encoder_run

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
        ("mine.py:square", "the encoder mine.py:square does not take inputs of shape (2, 20)"),
    ],
)
def test_what_is_no_encoder_is_refused_in_one_sentence(target, sentence):
    with pytest.raises(CaelabError) as told:
        encoder_run(target, "npz:x.npz")
    assert str(told.value).startswith(sentence)
    assert "\n" not in str(told.value)
