"""No plugin changes what another one sees: settings of the process, weights, modes, arguments. It is named."""

import os
import random
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from caelab import CaelabError, hookimpl, train
from caelab.hookspecs import TrainingHooks
from caelab.process.settings import ALL
from caelab.runs.run import dataset_of
from caelab.training.plugins import make_regularizers

HOOKS = [name for name in vars(TrainingHooks) if not name.startswith("_")]
WITHOUT_MODEL = ("corrupt_input",)


def doing(hook, act, arguments="model"):
    """A plugin that does something in one hook, and answers as if it had not."""
    answers = {"penalty_terms": "return {}", "extra_metrics": "return {}", "corrupt_input": "return clean.clone()"}
    if hook == "corrupt_input":
        arguments = "clean"
    scope = {"act": act}
    exec(f"def {hook}(self, {arguments}):\n    act({arguments})\n    {answers.get(hook, 'return None')}", scope)
    return type("Doing", (), {hook: hookimpl(scope[hook])})()


def refused(config, hook, act, arguments="model"):
    with pytest.raises(CaelabError) as told:
        train(config, observers={"mine": doing(hook, act, arguments)})
    where = hook if hook in ("before_training", "after_training") else f"{hook} at epoch 1"
    assert str(told.value).startswith(f"plugin 'mine' in {where} ")
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_setting_of_the_process_is_named_and_undone_whichever_hook_changes_it(hook, small):
    before = [setting.read() for setting in ALL]
    told = refused(small("ae"), hook, lambda _: torch.set_default_dtype(torch.float64))
    assert "torch's default dtype from torch.float32 to torch.float64" in told
    assert [setting.read() for setting in ALL] == before


SETTINGS = {
    "default device": lambda _: torch.set_default_device("meta"),
    "gradient mode": lambda _: torch.set_grad_enabled(False),
    "number of threads": lambda _: torch.set_num_threads(torch.get_num_threads() + 2),
    "deterministic algorithms": lambda _: torch.use_deterministic_algorithms(True),
    "numpy's global generator": lambda _: np.random.seed(0),  # noqa: NPY002
    "Python's random": lambda _: random.random(),
    "seed of torch's global generator": lambda _: torch.manual_seed(0),
    "working folder": lambda _: os.chdir("/"),
    "floating-point errors": lambda _: np.seterr(all="raise"),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("hook", ["penalty_terms", "after_epoch"])
def test_other_settings_too(hook, name, small):
    before = [setting.read() for setting in ALL]
    assert name in refused(small("ae"), hook, SETTINGS[name])
    assert [setting.read() for setting in ALL] == before


def test_a_change_that_comes_late_is_named_at_its_step(small):
    class Late:
        @hookimpl
        def after_batch(self, epoch, step):
            if (epoch, step) == (2, 15):
                torch.set_grad_enabled(False)

    with pytest.raises(CaelabError, match=r"plugin 'late' in after_batch at epoch 2 changes .*gradient mode"):
        train(small("ae", "training.batch_size=2"), observers={"late": Late(), "other": doing("after_batch", id)})
    assert torch.is_grad_enabled()


def test_what_a_failing_plugin_changed_is_undone_too(small):
    def fail(_):
        torch.set_default_dtype(torch.float64)
        raise KeyError("lost")

    with pytest.raises(CaelabError, match="plugin 'mine' failed in before_epoch at epoch 1: KeyError: 'lost'"):
        train(small("ae"), observers={"mine": doing("before_epoch", fail)})
    assert torch.get_default_dtype() is torch.float32


def zero(model):
    with torch.no_grad():
        model.encode[0].weight.zero_()


def zero_around_the_count(model):
    model.encode[0].weight.data.zero_()


def zero_through_numpy(model):
    model.encode[0].weight.detach().numpy()[:] = 0


def running_mean(model):
    model.register_buffer("mean", torch.zeros(3))


WEIGHTS = {"in place": zero, "data": zero_around_the_count, "numpy": zero_through_numpy}


@pytest.mark.parametrize("how", WEIGHTS)
@pytest.mark.parametrize("hook", ["penalty_terms", "extra_metrics"])
def test_weights_are_not_changed_where_they_are_only_read(hook, how, small):
    assert "changes the model's weights, which others see too" in refused(small("ae"), hook, WEIGHTS[how])


@pytest.mark.parametrize("hook", ["before_training", "before_epoch", "before_update", "after_batch", "after_training"])
def test_weights_may_be_changed_where_that_is_what_a_hook_is_for(hook, small):
    run = train(small("ae"), observers={"mine": doing(hook, zero)})
    assert (run.model.encode[0].weight == 0).all() == (hook in ("after_batch", "after_training"))


def poison(model):
    model.encode[0].bias.data[0] = float("nan")


@pytest.mark.parametrize("hook", ["before_training", "before_epoch", "before_update", "after_batch", "after_epoch"])
def test_nan_in_the_weights_is_named_at_once(hook, small):
    told = refused(small("ae"), hook, poison)
    assert "leaves NaN or infinite values in the weights (encode.0.bias)" in told


def test_nan_set_after_training_is_refused_and_nothing_is_stored(small, tmp_path):
    with pytest.raises(CaelabError, match="plugin 'mine' in after_training leaves NaN or infinite values"):
        train(small("ae"), observers={"mine": doing("after_training", poison)}, out=tmp_path)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".partial")]


@pytest.mark.parametrize("hook", ["penalty_terms", "before_update", "after_batch", "extra_metrics"])
def test_the_mode_of_the_model_is_put_back(hook, small):
    told = refused(small("ae"), hook, lambda model: model.train(hook == "extra_metrics"))
    assert "changes the model's mode, training or evaluation" in told


def test_a_mode_that_is_only_passing_is_no_matter(small):
    def look(model):
        model.eval()
        model.train()

    train(small("ae"), observers={"mine": doing("after_batch", look)})


def test_the_model_of_a_run_is_in_evaluation_mode_whatever_plugins_do(small):
    run = train(small("ae"), observers={"mine": doing("after_training", lambda model: model.train())})
    assert not run.model.training


@pytest.mark.parametrize("argument", ["clean", "code", "corrupted", "reconstruction"])
def test_a_tensor_changed_around_torchs_count_is_noticed(argument, small):
    config = small("dae-g")
    with pytest.raises(CaelabError, match=f"plugin 'mine' changes its argument '{argument}' in place in penalty_terms"):
        train(config, observers={"mine": doing("penalty_terms", lambda tensor: tensor.data.mul_(2), argument)})


def test_validation_inputs_changed_around_torchs_count_are_noticed(small):
    def change(inputs):
        inputs.numpy()[0, 0] = 9

    with pytest.raises(CaelabError, match="changes its argument 'inputs' in place in extra_metrics"):
        train(small("ae"), observers={"mine": doing("extra_metrics", change, "inputs")})


def test_a_corruption_in_place_does_not_reach_the_target(small):
    class InPlace:
        @hookimpl
        def corrupt_input(self, clean, streams):
            return clean.data.add_(1)

    with pytest.raises(CaelabError, match="changes its argument 'clean' in place in corrupt_input"):
        train(small("ae"), observers={"mine": InPlace()})


def test_a_config_is_not_changed(small):
    config = small("cae")

    def change(config):
        config.regularizers.clear()

    assert "changes the config" in refused(config, "before_training", change, "config")


def test_a_gradient_by_the_input_is_seen_by_nobody_else(small):
    seen = []

    class Asking:
        @hookimpl
        def penalty_terms(self, model, clean):
            clean.requires_grad_()
            code = model.encode(clean)
            (gradient,) = torch.autograd.grad(code.sum(), clean, create_graph=True)
            return {"mine": gradient.square().sum(dim=1).mean()}

    class Seeing:
        @hookimpl
        def penalty_terms(self, clean):
            seen.append(clean.requires_grad)
            return {}

    run = train(small("ae"), observers={"asking": Asking(), "seeing": Seeing()})
    assert run.metrics[-1]["train_mine"] > 0
    assert not any(seen)


def test_the_streams_of_a_run_are_not_a_plugins(small):
    class Drawing:
        @hookimpl
        def penalty_terms(self, streams):
            torch.rand(1, generator=streams["batch order"])
            return {}

    with pytest.raises(CaelabError, match="the stream 'batch order' is the run's own"):
        train(small("ae"), observers={"mine": Drawing()})


class Drops(torch.nn.Module):
    """A model whose dropout draws from torch's global generator."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.encode = torch.nn.Sequential(torch.nn.Linear(20, 8), torch.nn.Dropout(0.5), torch.nn.Sigmoid())
            self.decode = torch.nn.Sequential(torch.nn.Linear(8, 20), torch.nn.Sigmoid())

    def logits(self, code):
        return self.decode[0](code)


def weights(run):
    return torch.cat([value.flatten() for value in run.model.state_dict().values()])


@pytest.mark.parametrize("hook", ["before_training", "before_epoch", "penalty_terms", "after_batch", "extra_metrics"])
def test_what_one_draws_from_torchs_global_generator_no_other_misses(hook, small):
    """A model's dropout draws the same numbers with and without a plugin that draws from where it does."""
    config = small("ae", "training.batch_size=4")
    alone = train(config, model=Drops())
    together = train(config, model=Drops(), observers={"mine": doing(hook, lambda _: torch.rand(7))})
    assert torch.equal(weights(alone), weights(together))


class Noise:
    """Draws from torch's global generator, as a beginner does."""

    def __init__(self):
        self.drawn = []

    @hookimpl
    def corrupt_input(self, clean):
        noise = torch.randn_like(clean)
        self.drawn.append(noise)
        return clean + 0.3 * noise


def test_draws_from_the_global_generator_are_fixed_by_the_run_and_differ_at_every_call(small):
    first, again = Noise(), Noise()
    torch.rand(3)
    one = train(small("ae", "training.batch_size=8"), observers={"mine": first})
    torch.rand(5)
    other = train(small("ae", "training.batch_size=8"), observers={"mine": again})
    assert torch.equal(weights(one), weights(other))
    drawn = torch.stack([noise.flatten() for noise in first.drawn])
    assert len(drawn) == 15
    assert float(torch.corrcoef(drawn).fill_diagonal_(0).abs().max()) < 0.4  # 160 numbers: five standard errors


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda _: sys.exit(3), r"sys.exit\(3\)"),
        (lambda _: sys.exit(), r"sys.exit\(\)"),
        (lambda _: sys.exit("enough"), r"sys.exit\('enough'\)"),
        (lambda _: exit(), r"sys.exit\(\)"),
        (lambda _: os._exit(0), r"os._exit\(0\)"),
        (lambda _: os._exit(status=3), r"os._exit\(status=3\)"),
        (lambda _: os.abort(), r"os.abort\(\)"),
    ],
)
def test_a_plugin_that_ends_the_program_is_named(end, said, small):
    for hook in ("before_training", "penalty_terms", "after_training"):
        with pytest.raises(CaelabError, match=rf"^plugin 'mine' in {hook}.* ends the whole program with {said}; raise"):
            train(small("ae"), observers={"mine": doing(hook, end)})


@pytest.mark.parametrize("hook", HOOKS)
def test_in_every_hook(hook, small):
    assert "ends the whole program with os._exit(3)" in refused(small("ae"), hook, lambda _: os._exit(3))


def test_a_child_that_a_plugin_forks_still_ends(small):
    def fork(_):
        child = os.fork()
        if not child:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

    before = os._exit
    train(small("ae"), observers={"mine": doing("before_training", fork)})
    assert os._exit is before


THREAD = """
import os, threading, time
from caelab.process.exits import held_open
with held_open():
    threading.Thread(target=lambda: os._exit(5)).start()
    time.sleep(3600)  # nobody waits for it
"""


def test_another_thread_still_ends_the_program():
    assert subprocess.run([sys.executable, "-c", THREAD]).returncode == 5


def test_an_error_that_is_no_exception_is_named(small):
    class Odd(BaseException):
        pass

    def fail(_):
        raise Odd("strange")

    with pytest.raises(CaelabError, match="plugin 'mine' failed in before_epoch at epoch 1: Odd: strange"):
        train(small("ae"), observers={"mine": doing("before_epoch", fail)})


def ends(weight: float = 1.0):
    sys.exit(4)


def test_a_factory_that_ends_the_program_is_named(small):
    class Offers:
        def get(self, kind, name):
            return ends

    config = small("cae")
    with pytest.raises(CaelabError, match=r"^regularizer 'contractive' ends the whole program with sys.exit\(4\)"):
        make_regularizers(config, Offers())


def test_an_observer_changes_no_bit_of_a_run_with_a_thread_beside_it(small):
    thread = threading.Thread(target=lambda: [torch.rand(9) for _ in range(50)])
    alone = train(small("dae-g"))
    thread.start()
    together = train(small("dae-g"))
    thread.join()
    assert torch.equal(weights(alone), weights(together))
    assert dataset_of(small("dae-g")).content_hash == alone.record["data_hash"]
