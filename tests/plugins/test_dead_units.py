"""Dead units are counted, begin anew, or learn what the others leave over."""

import numpy as np
import pytest
import torch
from torch import nn

from caelab import CaelabError, hookimpl, load_run, recipe_config, train
from caelab.models.autoencoder import autoencoder
from caelab.models.convolutional import convolutional
from caelab.models.reconstruction import reconstruction_error
from caelab_regularizers.auxiliary_dead import AuxiliaryDead, auxiliary_loss, before_activation
from caelab_regularizers.dead_units import DeadUnits, dead_units
from caelab_regularizers.resample_dead import EXAMPLES, ResampleDead, resample
from tests.plugins import references

WIDTH, INPUTS = 12, 7
DEAD = [1, 4, 9]


def by_loops(code, threshold):
    """Whether any two examples differ by more than the threshold, over every pair."""
    found = []
    for unit in range(code.shape[1]):
        differences = [abs(float(a - b)) for a in code[:, unit] for b in code[:, unit]]
        found.append(all(difference <= threshold for difference in differences))
    return found


@pytest.fixture
def inputs():
    return torch.from_numpy(np.random.default_rng(5).random((40, INPUTS)))


def with_dead(*, tied=False, hidden=(WIDTH,), activation="relu", bias=-50.0):
    """An auto-encoder in float64 in which three units of the code are far below, or above, what moves them."""
    torch.manual_seed(2)
    model = autoencoder(INPUTS, hidden=[*hidden], activation=activation, tied=tied).double().eval()
    with torch.no_grad():
        for step in model.encode:
            if isinstance(step, nn.Linear):
                step.bias.normal_(std=0.1)
        last(model).bias[DEAD] = bias
    return model


def last(model):
    return model.encode[-2]


# The definition


CODES = {
    "relu": lambda z: z.relu(),
    "top-k": lambda z: z * (z >= z.topk(2, dim=1).values[:, -1:]),
    "sigmoid": lambda z: (4 * z).sigmoid(),
    "saturated": lambda z: (4 * z + 40).sigmoid(),
    "images": lambda z: z.relu().reshape(len(z), 3, 4),
}


@pytest.mark.parametrize("threshold", [0.0, 1e-3, 0.5])
@pytest.mark.parametrize("name", CODES)
def test_a_unit_is_dead_where_no_two_examples_differ(name, threshold):
    shift = torch.linspace(-4, 1, WIDTH, dtype=torch.float64)
    code = CODES[name](torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + shift)
    assert dead_units(code, threshold).tolist() == by_loops(code.flatten(1), threshold)


def test_a_unit_that_is_active_once_is_alive_and_one_that_never_moves_is_dead():
    code = torch.zeros(100, 3)
    code[7, 1] = 1e-6
    code[:, 2] = 0.9
    assert dead_units(code, 0.0).tolist() == [True, False, True]


@pytest.mark.parametrize(("activation", "bias", "threshold"), [("relu", -50.0, 0.0), ("sigmoid", 50.0, 0.01)])
def test_the_metric_counts_them(inputs, activation, bias, threshold):
    model = with_dead(activation=activation, bias=bias)
    expected = sum(by_loops(model.encode(inputs).detach(), threshold))
    assert expected >= len(DEAD)
    found = DeadUnits(threshold).extra_metrics(model, inputs)
    assert found == {"dead_units": expected, "dead_share": expected / WIDTH}


# Resampling


def began_anew(model, inputs, scale=0.2, seed=0, kind="squared-error"):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = resample(model, inputs, kind, 0.0, scale, torch.Generator().manual_seed(seed))
    return found, before


@pytest.mark.parametrize("hidden", [(WIDTH,), (6, WIDTH)], ids=str)
@pytest.mark.parametrize("tied", [True, False])
def test_dead_units_begin_along_an_example_and_others_keep_every_bit(inputs, tied, hidden):
    model = with_dead(tied=tied, hidden=hidden)
    below = inputs if len(hidden) == 1 else model.encode[:2](inputs).detach()
    code = model.encode(inputs).detach()
    dead = [unit for unit in range(WIDTH) if by_loops(code, 0.0)[unit]]
    alive = [unit for unit in range(WIDTH) if unit not in dead]
    assert set(DEAD) <= set(dead)
    found, before = began_anew(model, inputs)
    assert found.nonzero().flatten().tolist() == dead
    rows, old = last(model).weight.detach(), before[f"encode.{2 * len(hidden) - 2}.weight"]
    norm = np.mean([np.linalg.norm(old[unit]) for unit in alive])
    mean = below.mean(dim=0)
    for unit in dead:
        directions = [(each - mean) / torch.linalg.vector_norm(each - mean) for each in below]
        distances = [float((rows[unit] - 0.2 * norm * u).abs().max()) for u in directions]
        assert min(distances) < 1e-14
        along = directions[int(np.argmin(distances))]
        assert last(model).bias[unit].item() == pytest.approx(-float(rows[unit] @ mean), rel=1e-12)
        if not tied:
            columns = before["decode.0.weight"]
            size = np.mean([np.linalg.norm(columns[:, each]) for each in alive])
            torch.testing.assert_close(model.decode[0].weight[:, unit], size * along, rtol=1e-12, atol=1e-14)
    same = {name: value.clone() for name, value in model.state_dict().items()}
    for values in (same, before):
        values[f"encode.{2 * len(hidden) - 2}.weight"][dead] = 0
        values[f"encode.{2 * len(hidden) - 2}.bias"][dead] = 0
        if not tied:
            values["decode.0.weight"][:, dead] = 0
    assert all(torch.equal(value, before[name]) for name, value in same.items())
    assert not dead_units(model.encode(inputs), 0.0)[dead].any()


@pytest.mark.parametrize("kind", ["squared-error", "cross-entropy"])
def test_examples_are_drawn_by_their_squared_loss(kind):
    """Over many draws, with a model of 2 000 dead units."""
    inputs = torch.from_numpy(np.random.default_rng(1).random((5, INPUTS)))
    model = autoencoder(INPUTS, hidden=[2000], activation="relu", tied=False).double().eval()
    with torch.no_grad():
        model.encode[0].bias.fill_(-100.0)
        model.decode[0].bias.normal_(generator=torch.Generator().manual_seed(0), std=2.0)
        losses = reconstruction_error(kind, model, model.encode(inputs), inputs)
    began_anew(model, inputs, kind=kind)
    away = nn.functional.normalize(inputs - inputs.mean(dim=0), dim=1)
    drawn = (nn.functional.normalize(model.encode[0].weight.detach(), dim=1) @ away.T).argmax(dim=1)
    counts = torch.bincount(drawn, minlength=5).double().numpy()
    chances = np.array([float(loss) ** 2 for loss in losses]) / sum(float(loss) ** 2 for loss in losses)
    errors = np.sqrt(2000 * chances * (1 - chances))
    assert (abs(counts - 2000 * chances) < 5 * errors).all()
    assert (abs(counts - 400) > 5 * errors).any(), "equal chances could not be told from these"


def test_without_living_units_the_size_is_that_of_all():
    inputs = torch.rand(9, INPUTS, dtype=torch.float64)
    model = with_dead()
    with torch.no_grad():
        last(model).bias.fill_(-50.0)
    size = last(model).weight.detach().norm(dim=1).mean()
    found, _ = began_anew(model, inputs, scale=1.0)
    assert found.all()
    torch.testing.assert_close(last(model).weight.detach().norm(dim=1), size.expand(WIDTH))


@pytest.mark.parametrize("inputs", [torch.full((6, INPUTS), 0.5), torch.zeros(1, INPUTS)], ids=["equal", "one"])
def test_without_a_direction_nothing_changes(inputs):
    model = with_dead().float()
    found, before = began_anew(model, inputs)
    assert not found.any()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Methods(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = autoencoder(INPUTS, hidden=[WIDTH])

    def encode(self, inputs):
        return self.inner.encode(inputs)

    def decode(self, code):
        return self.inner.decode(code)


def normalised():
    model = with_dead()
    model.encode.insert(1, nn.BatchNorm1d(WIDTH))
    return model


def wider():
    model = with_dead()
    model.decode[0] = nn.Linear(WIDTH, INPUTS + 1)
    return model


REFUSED = {
    "methods": Methods,
    "batch normalisation": normalised,
    "another width": wider,
    "tied to another layer": lambda: nn.ModuleDict({}),
    "no parameters": lambda: type(
        "Bare", (), {"encode": nn.Sequential(nn.ReLU()), "decode": nn.Sequential(nn.ReLU())}
    )(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_be_treated_is_refused_before_training(name):
    with pytest.raises(CaelabError, match="use the model autoencoder") as error:
        ResampleDead(every=1, threshold=0.0, scale=0.2).before_training(REFUSED[name](), None)
    assert "\n" not in str(error.value)


def test_a_run_with_such_a_model_says_which_plugin_refuses():
    model = convolutional(64, (8, 8))
    model.decode.insert(0, nn.Identity())
    with pytest.raises(CaelabError, match="plugin 'resample-dead' in before_training: resample-dead writes the rows"):
        train(sparse({"resample-dead": RESAMPLE}), model=model)


def test_a_convolutional_model_ends_in_affine_maps_that_can_be_treated():
    images = torch.rand(30, 64)
    model = convolutional(64, (8, 8), hidden=WIDTH, activation="relu").eval()
    with torch.no_grad():
        model.encode[-2].bias[DEAD] = -50.0
    assert dead_units(model.encode(images), 0.0)[DEAD].all()
    began_anew(model, images)
    assert not dead_units(model.encode(images), 0.0)[DEAD].any()


def test_no_more_examples_are_kept_than_needed():
    plugin = ResampleDead(every=2, threshold=0.0, scale=0.2)
    for epoch in (1, 2):
        for _ in range(5):
            plugin.after_batch(clean=torch.ones(900, 2), epoch=epoch)
        assert sum(map(len, plugin.state_dict()["examples"])) == (EXAMPLES if epoch == 2 else 0)


# The auxiliary loss


def loss_by_loops(model, inputs, residual, dead, k):
    """Mean over examples of ‖e - V z'‖², z' the k largest pre-activations of dead units."""
    weight, bias = references.array(last(model).weight), references.array(last(model).bias)
    columns = references.array(model.decode[0].weight)
    below = inputs if len(model.encode) == 2 else model.encode[:2](inputs)
    total = 0.0
    for vector, left in zip(references.array(below), references.array(residual), strict=True):
        z = {unit: weight[unit] @ vector + bias[unit] for unit in range(len(bias)) if dead[unit]}
        chosen = sorted(z, key=lambda unit: z[unit])[-k:]
        estimate = sum(z[unit] * columns[:, unit] for unit in chosen)
        total += sum((left - estimate) ** 2)
    return total / len(below)


def loss_of(model, inputs, residual, dead, k):
    decode = model.logits if len(model.encode) == 2 else model.decode[0]
    return auxiliary_loss(decode, residual, before_activation(model, inputs), dead, k)


@pytest.fixture
def case(inputs):
    def build(tied, hidden=(WIDTH,)):
        model = with_dead(tied=tied, hidden=hidden, bias=-2.0)
        width = INPUTS if len(hidden) == 1 else hidden[0]
        residual = torch.from_numpy(np.random.default_rng(7).normal(size=(8, width)))
        dead = torch.zeros(WIDTH, dtype=torch.bool)
        dead[DEAD] = True
        return model, inputs[:8], residual, dead

    return build


@pytest.mark.parametrize("hidden", [(WIDTH,), (6, WIDTH)], ids=str)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3, 50])
def test_the_loss_equals_loops(case, tied, hidden, k):
    model, inputs, residual, dead = case(tied, hidden)
    found = loss_of(model, inputs, residual, dead, k).item()
    np.testing.assert_allclose(found, loss_by_loops(model, inputs, residual, dead, k), rtol=1e-12)


@pytest.mark.parametrize("tied", [True, False])
def test_its_gradient_equals_central_differences(case, tied):
    model, inputs, residual, dead = case(tied)
    for parameter in model.parameters():
        loss = loss_of(model, inputs, residual, dead, 2)
        (gradient,) = torch.autograd.grad(loss, parameter, allow_unused=True, materialize_grads=True)
        expected = references.parameter_gradient(lambda: loss_by_loops(model, inputs, residual, dead, 2), parameter)
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("tied", [True, False])
def test_living_units_and_the_decoders_bias_feel_nothing(inputs, tied):
    model = with_dead(tied=tied)
    plugin = AuxiliaryDead(weight=1.0, k=2, after=1, threshold=0.0)
    code = model.encode(inputs)
    loss = plugin.penalty_terms(model, inputs, inputs, code)["auxiliary-dead"]
    alive = ~dead_units(code, 0.0)
    assert alive.any()
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = dict(
        zip(names, torch.autograd.grad(loss, parameters, materialize_grads=True, allow_unused=True), strict=True)
    )
    assert not found["encode.0.weight"][alive].any()
    assert not found["encode.0.bias"][alive].any()
    assert not found["decode.0.bias"].any()
    assert found["encode.0.bias"][~alive].any()
    assert tied or not found["decode.0.weight"][:, alive].any()


def test_a_unit_that_is_far_below_is_raised_and_one_that_is_saturated_lowered(inputs):
    """Where the code itself has no gradient, or almost none."""
    for activation, bias in (("relu", -50.0), ("sigmoid", 50.0)):
        model = with_dead(activation=activation, bias=bias)
        dead = torch.arange(WIDTH) == DEAD[0]
        loss = auxiliary_loss(model.logits, inputs, before_activation(model, inputs), dead, 1)
        gradient = torch.autograd.grad(loss, last(model).bias)[0][DEAD[0]].item()
        assert gradient * bias > 0
        own = torch.autograd.grad(model.encode(inputs)[:, DEAD[0]].sum(), last(model).bias)[0][DEAD[0]].item()
        assert abs(own) < 1e-15


def test_the_term_of_a_run_is_that_of_the_residual(inputs):
    """Of the corrupted batch's reconstruction, against the clean batch, without a sigmoid behind what is added."""
    model, noisy = with_dead(), inputs + 0.1
    code = model.encode(noisy)
    found = AuxiliaryDead(0.3, k=2, after=1, threshold=0.0).penalty_terms(model, inputs, noisy, code)
    residual = inputs - model(noisy).detach()
    dead = torch.tensor(by_loops(code.detach(), 0.0))
    expected = 0.3 * loss_by_loops(model, noisy, residual, dead, 2)
    assert found["auxiliary-dead"].item() == pytest.approx(expected, rel=1e-12)


def test_wrong_formulas_would_be_noticed(case):
    model, inputs, residual, dead = case(False)
    right = loss_by_loops(model, inputs, residual, dead, 2)
    wrong = {
        "no choice": loss_by_loops(model, inputs, residual, dead, 3),
        "the residual alone": float(residual.square().sum(dim=1).mean()),
        "living units": loss_by_loops(model, inputs, residual, ~dead, 2),
        "the other sign": loss_by_loops(model, inputs, -residual, dead, 2),
        "mean over inputs": right / INPUTS,
    }
    for name, value in wrong.items():
        assert abs(value / right - 1) > 0.02, name


def test_without_dead_units_the_term_is_zero(inputs):
    model = with_dead(activation="sigmoid", bias=0.0)
    term = AuxiliaryDead(1.0, k=2, after=1, threshold=0.0).penalty_terms(model, inputs, inputs, model.encode(inputs))
    assert term["auxiliary-dead"].item() == 0
    assert not torch.autograd.grad(term["auxiliary-dead"], model.encode[0].weight)[0].any()


def test_a_unit_is_dead_after_so_many_batches_without_activity():
    """Batches of one example too, where activity is seen from batch to batch."""
    plugin = AuxiliaryDead(1.0, k=1, after=3, threshold=0.0)
    values = [[0, 1, 0, 2], [0, 1, 1, 2], [0, 1, 0, 2], [0, 1, 0, 0], [0, 2, 0, 0], [0, 2, 0, 0]]
    found = [plugin.dead_now(torch.tensor([row], dtype=torch.float32)).tolist() for row in values]
    idle, last, expected = [0] * 4, None, []
    for row in values:
        idle = [count + 1 if last is None or row[j] == last[j] else 0 for j, count in enumerate(idle)]
        last = row
        expected.append([count >= 3 for count in idle])
    assert found == expected
    assert [sum(row) for row in found] == [0, 0, 3, 2, 1, 2]


def test_what_changes_the_shape_behind_the_last_step_is_refused(inputs):
    model = with_dead()
    model.encode.append(nn.Linear(WIDTH, 4, dtype=torch.float64))
    model.encode.append(nn.Unflatten(1, (2, 2)))
    code = model.encode(inputs)
    with pytest.raises(CaelabError, match="let only an activation follow that step"):
        AuxiliaryDead(1.0, k=1, after=1, threshold=100.0).penalty_terms(model, inputs, inputs, code)


def test_an_encoder_that_is_no_chain_is_refused_before_training():
    with pytest.raises(CaelabError, match="auxiliary-dead needs the code before its activation, but encode of Methods"):
        AuxiliaryDead(1.0, k=1, after=1, threshold=0.0).before_training(Methods())


# In runs


RESAMPLE = {"every": 2, "threshold": 0.0, "scale": 0.2}
AUXILIARY = {"weight": 0.03, "k": 32, "after": 20, "threshold": 0.0}
COUNTED = {"sparse-l1": {"weight": 0.03}, "dead-units": {"threshold": 0.0}}


def sparse(regularizers, *settings, tied=False):
    """A wide ReLU auto-encoder with a large learning rate, which leaves many units dead from the first epoch on."""
    wide = ["model.hidden=[256]", "model.activation=relu", f"model.tied={tied}", "training.learning_rate=0.01"]
    often = ["training.epochs=6", "training.batch_size=50", *settings]
    dataset = {"kind": "digits", "splits": [1000, 300, 300]}
    return recipe_config("ae", [*wide, *often], dataset=dataset, regularizers={**COUNTED, **regularizers})


@pytest.fixture(scope="module")
def plain():
    return train(sparse({}))


def test_the_history_counts_the_dead_units_of_the_validation_examples(plain):
    expected = sum(by_loops(plain.model.encode(plain.dataset.valid_inputs[:60]).detach(), 0.0))
    counted = plain.metrics[-1]["dead_units"]
    assert 80 < counted <= expected, "fewer examples show fewer units alive"
    assert plain.metrics[-1]["dead_share"] == counted / 256


@pytest.mark.parametrize(
    ("name", "options", "at_most"), [("resample-dead", RESAMPLE, 0.8), ("auxiliary-dead", AUXILIARY, 0.4)]
)
def test_fewer_units_are_dead_with_each(plain, name, options, at_most):
    with_it = train(sparse({name: options}))
    assert with_it.metrics[-1]["dead_units"] < at_most * plain.metrics[-1]["dead_units"]
    assert with_it.metrics[-1]["valid_reconstruction"] < plain.metrics[-1]["valid_reconstruction"]


def test_units_begin_anew_when_it_is_their_time_and_are_counted(plain):
    history = train(sparse({"resample-dead": RESAMPLE})).metrics
    assert [metrics["resampled_units"] > 0 for metrics in history] == [False, False, True, False, True, False]
    assert history[2]["resampled_units"] >= 80
    assert history[1]["dead_units"] == plain.metrics[1]["dead_units"], "nothing else is changed before"


def test_a_run_of_tied_weights_has_its_units_resampled():
    options = {**RESAMPLE, "every": 1}
    counts = [train(sparse(each, "training.epochs=3", tied=True)).metrics for each in ({}, {"resample-dead": options})]
    plain, anew = ([metrics["dead_units"] for metrics in history] for history in counts)
    assert plain[-1] > 20
    assert anew[-1] < plain[-1]


class Interrupt:
    """Stops training before an epoch, as a person would."""

    @hookimpl
    def before_epoch(self, epoch):
        if epoch == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("name", "options"), [("resample-dead", RESAMPLE), ("auxiliary-dead", AUXILIARY)])
def test_an_interrupted_run_goes_on_to_the_same_bits(name, options, tmp_path):
    config = sparse({name: options}, "training.epochs=4")
    unbroken = train(config)
    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path, observers={"a stop": Interrupt()})
    resumed = train(config, out=tmp_path)
    assert resumed.metrics == unbroken.metrics
    for name, value in load_run(resumed.path).model.state_dict().items():
        assert torch.equal(value, unbroken.model.state_dict()[name]), name
