"""The trainer's own pass through the encoder serves the encoder's Jacobian."""

import torch

from caelab import hookimpl, train


def test_the_trainer_hands_its_pass_on(small):
    """A penalty in a deep chain runs no layer again, and one that only watches changes no bit."""
    seen = []

    class Watching:
        @hookimpl
        def penalty_terms(self, encoder_jacobian):
            seen.append(encoder_jacobian.strategy.layer_inputs)
            return {"watched": 0.0 * encoder_jacobian.squared_norm().mean()}

    config = small("ae", "model.hidden=[8, 4]")
    alone, watched = train(config), train(config, observers={"watching": Watching()})
    assert all(len(kept) == 2 for kept in seen)
    for name, value in alone.model.state_dict().items():
        assert torch.equal(value, watched.model.state_dict()[name]), name
