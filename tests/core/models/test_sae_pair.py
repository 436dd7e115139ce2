"""Two sparse auto-encoders around a block."""

import copy

import pytest
import torch

from caelab import CaelabError
from caelab.models.sae_pair import mlp_block, sae_pair
from caelab.registry.importing import allow_code
from caelab.streams import Streams

INPUTS, UNITS, K = 6, 20, 4


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return sae_pair(INPUTS, hidden=UNITS, k=K)


@pytest.fixture
def batch():
    return torch.randn(7, INPUTS, generator=torch.Generator().manual_seed(3))


def test_the_loss_is_the_error_before_and_behind_the_block(pair, batch):
    after = pair.block(batch)
    errors = [
        (x - back(into(x))).square().sum(dim=1).mean()
        for x, into, back in ((batch, pair.encode, pair.decode), (after, pair.encode_after, pair.decode_after))
    ]
    torch.testing.assert_close(pair.training_loss(batch, Streams(0)), sum(errors))
    torch.testing.assert_close(pair.loss_of_code(batch, pair.encode(batch), Streams(0)), sum(errors))


def test_the_block_is_always_the_same_and_stands_still(pair):
    torch.manual_seed(5)
    for one, other in zip(pair.block.parameters(), mlp_block(INPUTS).parameters(), strict=True):
        assert torch.equal(one, other)
        assert not one.requires_grad


def test_parameters_are_held_once_and_a_copy_is_whole(pair, batch):
    names = [name for name, _ in pair.named_parameters()]
    assert len(names) == 4 * 2 + 4
    twin = copy.deepcopy(pair)
    with torch.no_grad():
        twin.decode[0].directions.zero_()
    assert twin.code_map[0] is twin.decode
    assert pair.decode[0].directions.any()


def test_codes_are_sparse_and_start_as_the_dictionarys_transpose(pair, batch):
    assert (pair.encode(batch) != 0).sum(dim=1).max() <= K
    torch.testing.assert_close(pair.encode[0].weight, pair.decode[0].directions)
    torch.testing.assert_close(pair.decode[0].directions.norm(dim=1), torch.ones(UNITS))


def test_a_block_of_ones_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\ndef block(inputs):\n    return torch.nn.Linear(inputs, 3)\ndef no(inputs):\n    return 5\n"
    )
    allow_code(f"{file}:block", f"{file}:no")
    made = sae_pair(INPUTS, hidden=UNITS, k=K, block=f"{file}:block")
    assert made.code_map(torch.zeros(2, UNITS)).shape == (2, UNITS)
    with pytest.raises(CaelabError, match=r"from a width to an nn\.Module, but it gave int"):
        sae_pair(INPUTS, hidden=UNITS, k=K, block=f"{file}:no")
