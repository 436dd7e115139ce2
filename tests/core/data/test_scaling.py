"""Standardise, minmax and binarise: parameters of the training examples alone, held against scikit-learn's."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.preprocessing import Binarizer, MinMaxScaler, StandardScaler

import caelab
from caelab.cli.main import main
from caelab.data import Samples, Tangents, load_dataset, make_dataset
from caelab.data.given import as_dataset
from caelab.data.kept import keep
from caelab.data.scaling import ROWS, Scaling
from caelab.data.scaling_options import ScalingOptions
from caelab.errors import CaelabError
from caelab.report.comparing import _on
from caelab.runs.config import make_config

RNG = np.random.default_rng(0)
OPTIONS = {
    "standardise": {"standardise": True},
    "minmax": {"minmax": True},
    "clip": {"minmax": "clip"},
    "binarise": {"binarise": 0.1},
    "median": {"binarise": "median"},
}
CONFIG = {
    "label": "small",
    "seed": 0,
    "dataset": {"kind": "digits", "splits": [100, 30, 40]},
    "model": {"kind": "autoencoder", "hidden": [4], "output": "identity"},
    "training": {
        "reconstruction": "squared-error",
        "optimizer": "adam",
        "epochs": 1,
        "learning_rate": 0.01,
        "batch_size": 50,
    },
}


def table(rows=200):
    """Inputs of very different size, one of them constant, as float32."""
    x = RNG.normal(size=(rows, 5)) * [1e-3, 1, 1e3, 1, 1] + [0, 0, 1e4, 0.1, 0]
    x[:, 4] = 0.7
    return x.astype("float32")


def by_sklearn(option, train):
    """The same transformation by scikit-learn, fitted to the training examples in float64."""
    exact = train.astype(float)
    if option == "median":
        return lambda x: (x > np.median(exact, axis=0)).astype(float)
    scaler = {
        "standardise": StandardScaler(),
        "minmax": MinMaxScaler(),
        "clip": MinMaxScaler(clip=True),
        "binarise": Binarizer(threshold=np.float32(0.1)),
    }[option]
    return scaler.fit(exact).transform


@pytest.mark.parametrize("option", OPTIONS)
def test_every_part_is_scaled_as_scikit_learn_scales_it_by_the_training_part(option):
    x = table()
    raw = as_dataset(x, seed=3)
    found = as_dataset(x, seed=3, scaling=OPTIONS[option])
    transform = by_sklearn(option, raw.train_inputs.numpy())
    for part in ("train", "valid", "test"):
        assert torch.equal(getattr(raw, part), getattr(found, part))
        inputs = getattr(found, f"{part}_inputs").numpy()
        expected = transform(getattr(raw, f"{part}_inputs").numpy().astype(float))
        np.testing.assert_allclose(inputs, expected, rtol=2e-7, atol=1e-7)  # rounding to float32
    assert found.inputs.dtype == torch.float32


@pytest.mark.parametrize("option", OPTIONS)
def test_other_examples_do_not_change_the_parameters(option):
    x = table()
    before = as_dataset(x, scaling=OPTIONS[option])
    others = torch.cat([before.valid, before.test]).numpy()
    x[others] = x[others] * 100 + 5
    after = as_dataset(x, scaling=OPTIONS[option])
    assert torch.equal(before.scaling.shift, after.scaling.shift)
    assert torch.equal(before.scaling.scale, after.scaling.scale)
    assert torch.equal(before.train_inputs, after.train_inputs)
    changed = table()
    changed[before.train.numpy()[0], 1] = 1e6
    if option != "binarise":
        assert not torch.equal(as_dataset(changed, scaling=OPTIONS[option]).scaling.shift, before.scaling.shift) or (
            option in ("minmax", "clip", "median")
        )


def test_clip_ends_at_0_and_1_and_minmax_alone_does_not():
    x = np.linspace(0, 1, 60, dtype="float32")[:, None]
    x[np.concatenate([as_dataset(x).valid, as_dataset(x).test])[:2]] = [[-3], [9]]
    assert as_dataset(x, scaling={"minmax": "clip"}).value_range == (0.0, 1.0)
    low, high = as_dataset(x, scaling={"minmax": True}).value_range
    assert low < -2
    assert high > 8


def test_a_constant_input_becomes_0_exactly_and_is_counted_as_of_scale_1():
    x = np.full((30, 2), 0.1, "float32")
    x[:, 1] = np.arange(30)
    for option in ("standardise", "minmax"):
        found = as_dataset(x, scaling={option: True})
        assert found.inputs[:, 0].abs().max() == 0
        assert found.scaling.scale[0] == 1


@pytest.mark.parametrize("option", OPTIONS)
def test_mapped_arrays_stay_in_a_file_and_are_scaled_alike(tmp_path, option):
    np.save(tmp_path / "x.npy", RNG.random((ROWS + 500, 3), dtype="float32"))
    mapped = load_dataset(f"memmap:{tmp_path / 'x.npy'}", **OPTIONS[option])
    in_memory = load_dataset(f"npy:{tmp_path / 'x.npy'}", **OPTIONS[option])
    assert mapped.mapped
    assert torch.equal(mapped.inputs, in_memory.inputs)
    assert mapped.content_hash == in_memory.content_hash
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), load_dataset(f"npy:{tmp_path / 'x.npy'}").inputs)


@pytest.mark.parametrize("option", ["standardise", "minmax"])
def test_what_was_scaled_comes_back(option):
    x = table()
    found = as_dataset(x, scaling={option: True})
    scaling = found.scaling
    np.testing.assert_allclose(scaling.invert(found.inputs), x, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(scaling.apply(x), found.inputs)
    assert isinstance(scaling.apply(x), np.ndarray)
    assert scaling.apply(torch.from_numpy(x[0]).double()).dtype == torch.float64
    slope = torch.autograd.functional.jacobian(scaling.apply, torch.from_numpy(x[0]).double())
    torch.testing.assert_close(slope, torch.diag(1 / scaling.scale))


def test_bytes_and_images_are_scaled_as_the_data_set_was():
    images = RNG.integers(0, 256, (40, 3, 2), dtype=np.uint8)
    found = as_dataset(images, scaling={"standardise": True})
    np.testing.assert_array_equal(found.scaling.apply(images).reshape(40, 6), found.inputs)
    assert found.image_shape == (3, 2)


def test_hash_is_that_of_the_data_and_the_option_and_a_changed_value_is_seen():
    x = table()
    found = {name: as_dataset(x, scaling=option) for name, option in OPTIONS.items()}
    assert len({as_dataset(x).content_hash, *(each.content_hash for each in found.values())}) == len(OPTIONS) + 1
    again = as_dataset(x, scaling={"standardise": True}, seed=9)
    assert again.content_hash == found["standardise"].content_hash
    assert as_dataset(again) is again
    assert as_dataset(again, scaling={"standardise": True}) is again
    other = again.inputs.clone()
    other[0, 0] += 1
    with pytest.raises(CaelabError, match="but its content has"):
        as_dataset(replace(again, inputs=other))
    with pytest.raises(CaelabError, match=r"went through .* already"):
        as_dataset(again, scaling={"minmax": True})


WRONG = {
    "expected at most one of standardise, minmax and binarise": {"standardise": True, "minmax": True},
    "unknown option 'standardize'; did you mean 'standardise'": {"standardize": True},
    "digits.binarise: expected a number, above which an input becomes 1, or median, but True": {"binarise": True},
    "or median, but 'mean' came": {"binarise": "mean"},
    "or median, but nan came": {"binarise": float("nan")},
    "digits.minmax: expected true, false or clip, but 'x' came": {"minmax": "x"},
    "digits.standardise: expected true or false, but 1 came": {"standardise": 1},
}


@pytest.mark.parametrize("sentence", WRONG)
def test_wrong_options_are_refused(sentence):
    with pytest.raises(CaelabError) as caught:
        load_dataset("digits", **WRONG[sentence])
    assert sentence in str(caught.value)
    with pytest.raises(CaelabError, match="dataset"):
        caelab.train({**CONFIG, "dataset": {"kind": "digits", **WRONG[sentence]}})


def test_false_is_as_if_it_were_not_said():
    plain = load_dataset("digits")
    assert load_dataset("digits", standardise=False, binarise=False).content_hash == plain.content_hash
    config = {**CONFIG, "dataset": {**CONFIG["dataset"], "minmax": False}}
    assert make_config(config).content_hash() == make_config(CONFIG).content_hash()


def test_a_scaled_value_that_float32_cannot_hold_is_refused():
    x = np.linspace(0, 1e-30, 50, dtype="float32")[:, None]
    x[as_dataset(x).test[0]] = 1e38
    with pytest.raises(CaelabError, match="after standardise,': expected finite inputs"):
        as_dataset(x, scaling={"standardise": True})


def test_scaling_says_what_it_cannot_do():
    found = as_dataset(table(), scaling={"binarise": 0.5})
    with pytest.raises(CaelabError, match="cannot be inverted"):
        found.scaling.invert(found.inputs)
    for wrong in (torch.zeros(3, 7), np.zeros(4), [1, 2]):
        with pytest.raises(CaelabError, match="came"):
            found.scaling.apply(wrong)


def test_tangents_turn_with_the_inputs_and_other_truth_is_let_go(caplog):
    """On the curve z = scaled (t, 2t, t²) the tangent is the derivative by t of what the scaling makes of it."""
    t = torch.linspace(-1, 1, 40, dtype=torch.float64)
    points = torch.stack([t, 2 * t, t**2], dim=1)
    slope = torch.stack([torch.ones(40), torch.full((40,), 2.0), 2 * t], dim=1)
    basis = (slope / slope.norm(dim=1, keepdim=True))[:, None]
    found = make_dataset("curve", Samples(points, truth=Tangents(basis, points)), scaling=ScalingOptions(minmax=True))
    direction = slope / found.scaling.scale
    expected = direction / direction.norm(dim=1, keepdim=True)
    cosines = (found.truth.basis[:, 0] * expected).sum(dim=1).abs()
    torch.testing.assert_close(cosines, torch.ones(40, dtype=torch.float64))
    assert load_dataset("gaussian-mixture", standardise=True).truth is None
    assert "does not hold after standardise" in caplog.text


@pytest.mark.parametrize("option", OPTIONS)
def test_a_run_keeps_the_parameters_and_everything_that_reads_it_agrees(tmp_path, option):
    config = {**CONFIG, "dataset": {**CONFIG["dataset"], **OPTIONS[option]}}
    run = caelab.train(config, out=tmp_path)
    kept = json.loads((run.path / "run.json").read_text())["record"]["data"]["scaling"]
    assert kept == run.record["data"]["scaling"] == run.dataset.scaling.as_record()
    assert kept["shift"] == run.dataset.scaling.shift.tolist()
    raw = load_dataset("digits", splits=(100, 30, 40))
    for given in (None, raw, run.dataset):
        again = caelab.load_run(run.path, dataset=given)
        assert torch.equal(again.dataset.inputs, run.dataset.inputs)
        assert again.dataset.content_hash == run.dataset.content_hash
    with pytest.raises(CaelabError, match="have changed"):
        caelab.load_run(run.path, dataset=replace(raw, inputs=raw.inputs + 1, content_hash=""))


def test_given_data_are_scaled_as_the_config_says_and_once(tmp_path):
    raw = load_dataset("digits")
    given = (raw.inputs.numpy(), raw.labels)
    config = {**CONFIG, "dataset": {**CONFIG["dataset"], "standardise": True}}
    run = caelab.train(config, dataset=given, out=tmp_path)
    assert run.dataset.scaling.kind == "standardise"
    assert abs(float(run.dataset.train_inputs.mean())) < 1e-6
    assert torch.equal(caelab.load_run(run.path, dataset=given).dataset.inputs, run.dataset.inputs)
    assert caelab.train(config, dataset=given, out=tmp_path).path == run.path
    plain = caelab.train(CONFIG, dataset=run.dataset, out=tmp_path)  # scaled already, which the config is told
    assert plain.config.dataset.options["standardise"] is True
    assert torch.equal(caelab.load_run(plain.path, dataset=run.dataset).dataset.inputs, run.dataset.inputs)
    by_name = caelab.train(config, dataset="digits")
    assert by_name.dataset.scaling.kind == "standardise"


def test_a_classifier_and_a_stack_see_scaled_inputs_once(tmp_path):
    dataset = {**CONFIG["dataset"], "standardise": True}
    run = caelab.train({**CONFIG, "dataset": dataset}, out=tmp_path)
    made = caelab.finetune(run, epochs=1).save(tmp_path)
    assert torch.equal(caelab.load_classifier(made.path).run.dataset.inputs, run.dataset.inputs)
    model = {"kind": "autoencoder", "hidden": [5, 3], "output": "identity"}
    stack = caelab.train({**CONFIG, "dataset": dataset, "model": model, "pretraining": "greedy"}, out=tmp_path)
    again = caelab.load_run(stack.path)
    assert torch.equal(again.dataset.inputs, run.dataset.inputs)


def test_cross_entropy_is_refused_for_the_true_reason():
    model, training = (
        {**CONFIG["model"], "output": "sigmoid"},
        {**CONFIG["training"], "reconstruction": "cross-entropy"},
    )
    for option, reason in (("standardise", "but after standardise they lie in"), ("minmax", "dataset.minmax=clip")):
        dataset = {**CONFIG["dataset"], "splits": [20, 30, 1000], option: True}
        with pytest.raises(CaelabError) as caught:
            caelab.train({**CONFIG, "dataset": dataset, "model": model, "training": training})
        assert reason in str(caught.value)


def test_the_commands_take_the_options(tmp_path, capsys):
    def command(*words):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        said = capsys.readouterr()
        assert stopped.value.code == 0, said.err
        return said.out

    assert "\t0 to 1\t" in command("data", "circle", "--set", "minmax=clip")
    settings = ["dataset.binarise=0.5", "training.epochs=1", "dataset.splits=[100,30,40]"]
    command("train", "cae", "--dataset", "digits", "--out", str(tmp_path), *(w for s in settings for w in ("--set", s)))
    (folder,) = [each for each in tmp_path.iterdir() if each.is_dir() and each.name.startswith("cae")]
    assert caelab.load_run(folder).dataset.inputs.unique().tolist() == [0, 1]


def test_a_record_gives_the_scaling_back(tmp_path):
    raw = load_dataset("digits")
    for option in OPTIONS.values():
        found = load_dataset("digits", **option)
        again = Scaling.from_record(json.loads(json.dumps(found.scaling.as_record())))
        assert torch.equal(again.apply(raw.inputs), found.inputs)
        kept = load_dataset(keep(found, tmp_path))
        assert kept.content_hash == found.content_hash
        assert torch.equal(kept.scaling.apply(raw.inputs), kept.inputs)
    with pytest.raises(CaelabError, match="expected a scaling as a run keeps it"):
        Scaling.from_record({"kind": "minmax"})


def test_a_comparison_scales_whatever_data_it_is_given():
    config = make_config({**CONFIG, "dataset": {"kind": "digits", "standardise": True}})
    for block in ({"kind": "arrays", "path": "x"}, {"kind": "mnist5k"}, {"splits": [10, 5, 5]}):
        assert _on(config, block).dataset.options["standardise"] is True
    assert "standardise" not in _on(make_config(CONFIG), {"kind": "mnist5k"}).dataset.options


def test_a_scaling_shows_itself_in_a_line():
    assert repr(as_dataset(table(), scaling={"minmax": True}).scaling) == (
        "Scaling(kind='minmax', asked={'minmax': True})"
    )
    assert Scaling("minmax", {"minmax": True}, torch.zeros(1), torch.ones(1)).clips is False
