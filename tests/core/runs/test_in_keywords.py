"""Sentences that name options of the command line, as a person in Python mends what they tell."""

import pytest

import caelab
from caelab.errors import CaelabError, StorageError
from caelab.runs.in_keywords import in_keywords, keywords_in


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("with --set model.hidden=[300].", "with hidden=[300]."),
        ("as in --set dataset.examples=1000", "as in dataset__examples=1000"),
        ("give --set model=VALUE; go on", "give model=VALUE; go on"),
        ("--set layers.0.training.epochs=3", "layers__0__training__epochs=3"),
        ("a --settled word", "a --settled word"),
    ],
)
def test_settings_become_keywords(told, says):
    assert keywords_in(told) == says


def test_the_error_stays_the_one_that_it_was():
    with pytest.raises(StorageError, match="use hidden=3") as caught, in_keywords():
        raise StorageError("use --set model.hidden=3", 28)
    assert caught.value.errno == 28


def test_what_is_told_can_be_done():
    with pytest.raises(CaelabError, match=r"or use reconstruction='squared-error', output='identity'$"):
        caelab.compare(["ae"], dataset=[[-1.0, 2.0]] * 9, seeds=1, executor="serial", analyses=["jacobian_norm"])
    config = caelab.recipe("ae", reconstruction="squared-error", output="identity")
    assert config.training.reconstruction == "squared-error"
