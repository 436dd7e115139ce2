"""What a plugin is handed belongs to the whole run: one that changes it in place is named, with hook and argument."""

import pytest

from caelab import CaelabError, hookimpl, train

CHANGES = {
    "corrupt_input": ("clean", lambda clean: clean.mul_(0.5)),
    "penalty_terms": ("code", lambda code: {"mine": code.mul_(2).mean()}),
    "after_batch": ("terms", lambda terms: terms.clear()),
    "extra_metrics": ("inputs", lambda inputs: {"mine": float(inputs.zero_().sum())}),
    "after_epoch": ("metrics", lambda metrics: metrics.update(valid_reconstruction=0.0)),
    "after_training": ("history", lambda history: history[0].clear()),
}


def changing(hook, argument, change):
    """A plugin that answers one hook, and changes its argument."""
    scope = {"change": change}
    exec(f"def {hook}(self, {argument}): return change({argument})", scope)
    return type("Changing", (), {hook: hookimpl(scope[hook])})()


@pytest.mark.parametrize("hook", CHANGES)
def test_who_changes_which_argument_where_is_told(hook, small):
    argument, change = CHANGES[hook]
    where = hook if hook == "after_training" else f"{hook} at epoch 1"
    with pytest.raises(CaelabError, match=f"^plugin 'mine' changes its argument '{argument}' in place in {where}; "):
        train(small("ae"), observers={"mine": changing(hook, argument, change)})


def test_the_batch_behind_an_update_is_watched(small):
    with pytest.raises(CaelabError, match="'mine' changes its argument 'clean' in place in after_batch at epoch 1; "):
        train(small("ae"), observers={"mine": changing("after_batch", "clean", lambda clean: clean.mul_(0.5))})


@pytest.mark.parametrize("argument", ["clean", "corrupted", "code", "reconstruction"])
def test_every_tensor_of_a_penalty_is_watched(argument, small):
    plugin = changing("penalty_terms", argument, lambda tensor: {"mine": tensor.add_(1).mean()})
    with pytest.raises(CaelabError, match=f"plugin 'mine' changes its argument '{argument}' in place in penalty_terms"):
        train(small("dae-g"), observers={"mine": plugin})


def test_a_view_is_watched_and_a_copy_is_not(small):
    viewing = changing("penalty_terms", "clean", lambda clean: {"mine": clean[:, :1].mul_(2).mean()})
    with pytest.raises(CaelabError, match="changes its argument 'clean' in place"):
        train(small("ae"), observers={"mine": viewing})
    copying = changing("penalty_terms", "code", lambda code: {"mine": code.clone().mul_(2).mean()})
    train(small("ae"), observers={"mine": copying})
