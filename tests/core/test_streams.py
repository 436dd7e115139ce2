import torch

from caelab.streams import Streams, seeded


def test_streams_do_not_disturb_each_other():
    alone, beside = Streams(3), Streams(3)
    torch.rand(1000, generator=beside["another"])
    assert torch.equal(torch.rand(5, generator=alone["a"]), torch.rand(5, generator=beside["a"]))


def test_streams_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    torch.rand(5, generator=Streams(0)["a"])
    assert torch.equal(before, torch.get_rng_state())


def test_a_restored_stream_continues():
    streams = Streams(1)
    torch.rand(7, generator=streams["a"])
    state = {name: value.clone() for name, value in streams.state().items()}
    expected = torch.rand(3, generator=streams["a"])
    again = Streams(1)
    again.restore(state)
    assert torch.equal(torch.rand(3, generator=again["a"]), expected)


def test_seeds_and_names_give_different_numbers():
    draws = {float(torch.rand((), generator=Streams(seed)[name])) for seed in range(5) for name in ("a", "b", "c")}
    assert len(draws) == 15


def test_the_global_generator_is_seeded_within_the_block_and_left_as_it_was():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded(0, "weights"):
        first = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with seeded(0, "weights"):
        assert torch.equal(torch.rand(2), first)
    with seeded(0, "other weights"):
        assert not torch.equal(torch.rand(2), first)
