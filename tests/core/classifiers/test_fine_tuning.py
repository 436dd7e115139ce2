"""Fine-tuning: its numbers, what it may see, and that an interrupted one goes on to the same bits."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import caelab
from caelab import CaelabError, finetune
from caelab.classifiers import descent
from caelab.classifiers.examples import examples_of
from caelab.data.given import as_dataset
from caelab.errors import NotApplicable
from caelab.models.autoencoder import Autoencoder
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses import classification

QUICK = {"epochs": 6}


@pytest.fixture(scope="module")
def tuned(run):
    return finetune(run, epochs=8, patience=3)


def test_errors_are_those_of_the_analysis_that_fine_tunes_by_autograd(run, tuned):
    """Two implementations from the same start, over the same batches, with the same rule for the best epoch."""
    table = classification.measure(run, Streams(run.seed), labels=300, epochs=8, patience=3)
    rows = table[table["classifier"] == classification.TUNED].set_index("split")
    assert tuned.error("valid") == pytest.approx(rows["error"]["valid"])
    assert tuned.error("test") == pytest.approx(rows["error"]["test"])
    assert tuned.best()["epoch"] == rows["epochs"]["test"]


def test_errors_and_scores_are_a_recount(run, tuned):
    data = run.dataset
    predicted = tuned.predict(data.test_inputs)
    wrong = np.mean(predicted.numpy() != data.test_labels.numpy())
    assert tuned.error("test") == pytest.approx(100 * wrong)
    assert tuned.score(data.test_inputs, data.test_labels) == pytest.approx(1 - wrong)
    assert 0 < wrong < 0.9
    code = tuned.encoder(data.test_inputs)
    layer = tuned.fitted.rule.softmax
    expected = torch.softmax((code @ layer.weight.T + layer.bias).double(), dim=1)
    torch.testing.assert_close(tuned.predict_proba(data.test_inputs), expected.detach(), rtol=1e-5, atol=1e-7)


def test_the_history_is_of_every_epoch_and_the_best_is_kept(run, tuned):
    rows = tuned.metrics
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert tuned.error() == min(row["valid_error"] for row in rows) == tuned.best()["valid_error"]
    surprise = -tuned.predict_proba(run.dataset.valid_inputs).log()
    known = surprise.gather(1, torch.searchsorted(tuned.classes, run.dataset.valid_labels)[:, None])
    assert tuned.best()["valid_loss"] == pytest.approx(float(known.mean()), rel=1e-5)


def test_classes_are_called_as_the_data_set_calls_them(toy_run, clusters):
    inputs, labels = clusters([7, -3, 40])
    made = finetune(toy_run(inputs, labels), batch_size=20)
    assert made.classes.tolist() == [-3, 7, 40]
    assert made.error("test") == 0
    assert set(made.predict(made.run.dataset.test_inputs).tolist()) == {-3, 7, 40}


def test_names_of_classes(toy_run, clusters):
    inputs, labels = clusters([2, 0])
    made = finetune(toy_run(inputs, labels), method="nearest-neighbours")
    assert made.class_names == ("0", "2")
    named = replace(made.run, dataset=replace(made.run.dataset, label_names=("cat", "dog", "emu")))
    assert replace(made, run=named).class_names == ("cat", "emu")


def test_permuted_labels_come_out_at_chance(toy_run, clusters):
    inputs, labels = clusters([0, 1])
    shuffled = np.random.default_rng(1).permutation(labels)
    assert finetune(toy_run(inputs, shuffled), **QUICK).error("test") > 20


def scrambled(run):
    """The same run, whose test inputs and labels are nonsense."""
    data = run.dataset
    inputs, labels = data.inputs.clone(), data.labels.clone()
    inputs[data.test] = torch.rand(len(data.test), inputs.shape[1], generator=torch.Generator().manual_seed(9))
    labels[data.test] = torch.arange(len(data.test)) + 1000
    return replace(run, dataset=replace(data, inputs=inputs, labels=labels, content_hash=""))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("fine-tuning", QUICK),
        ("fine-tuning", {**QUICK, "tangents": 3, "tangent_weight": 0.1, "dropout": 0.2}),
        ("frozen", {}),
        ("nearest-neighbours", {}),
        ("svm-rbf", {"features": "inputs"}),
        ("tangent-nearest-neighbours", {"tangents": 3, "candidates": 20}),
    ],
)
def test_test_examples_have_no_influence(run, same, method, options):
    other = scrambled(run)
    assert other.dataset.content_hash != run.dataset.content_hash
    one, two = (finetune(each, method=method, **options) for each in (run, other))
    assert same(one, two)
    assert one.metrics == two.metrics
    inputs = run.dataset.valid_inputs
    assert torch.equal(one.predict_proba(inputs), two.predict_proba(inputs))
    assert one.error("test") != two.error("test")


def test_fewer_labels_are_the_first_ones(run, same):
    few = finetune(run, labels=100, **QUICK)
    data = run.dataset
    cut = replace(run, dataset=replace(data, train=data.train[:100]))
    assert same(few, finetune(cut, **QUICK))
    assert not same(few, finetune(run, **QUICK))


def test_the_run_stays_as_it_was(run):
    before, code = deepcopy(run.model.state_dict()), run.encode(run.dataset.valid_inputs)
    made = finetune(run, **QUICK)
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert torch.equal(run.encode(run.dataset.valid_inputs), code)
    assert not torch.equal(made.encoder(run.dataset.valid_inputs), code)
    assert all(p.grad is None for p in made.fitted.model.parameters())


def test_nothing_is_drawn_from_the_global_generator(run, same):
    torch.manual_seed(1)
    one, state = finetune(run, dropout=0.5, **QUICK), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert same(one, finetune(run, dropout=0.5, **QUICK))
    assert not same(one, finetune(run, dropout=0.5, seed=5, **QUICK))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "adam", "learning_rate": 0.003, "dropout": 0.3},
        {"schedule": {"kind": "cosine", "warmup": 1}, "patience": None},
        {"tangents": 2, "tangent_weight": 0.1, "schedule": {"kind": "step", "every": 2}},
    ],
    ids=["sgd", "adam and dropout", "a cosine", "tangents"],
)
def test_an_interrupted_one_goes_on_to_the_same_bits(run, same, tmp_path, monkeypatch, options):
    monkeypatch.setattr(descent, "EVERY", 0.0)
    whole = finetune(run, epochs=7, out=tmp_path / "whole", **options)

    def interrupt(row):
        if row["epoch"] == 4:
            raise KeyboardInterrupt

    for _ in range(2):  # the second time, it goes on and ends
        try:
            made = finetune(run, epochs=7, out=tmp_path / "cut", progress=interrupt, **options)
        except KeyboardInterrupt:
            (partial,) = (tmp_path / "cut").glob(".partial-*-fine-tuning-*")
            assert (partial / "checkpoint.safetensors").is_file()
            continue
    assert same(whole, made)
    assert whole.metrics == made.metrics
    assert [path.name for path in (tmp_path / "cut").iterdir() if "tangents" not in path.name] == [whole.path.name]


def test_a_damaged_checkpoint_starts_anew(run, same, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(descent, "EVERY", 0.0)

    def interrupt(row):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        finetune(run, out=tmp_path, progress=interrupt, **QUICK)
    (path,) = tmp_path.glob(".partial-*/checkpoint.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    assert same(finetune(run, out=tmp_path, **QUICK), finetune(run, **QUICK))
    assert "from its start" in caplog.text


def test_no_epoch_gives_the_start(run):
    made = finetune(run, epochs=0)
    assert made.metrics == []
    assert torch.equal(made.encoder(run.dataset.valid_inputs), run.encode(run.dataset.valid_inputs))
    assert made.best() == {"valid_error": made.error()}


def test_a_frozen_encoder_is_trained_all_the_same(toy_run, clusters):
    run = toy_run(*clusters([0, 1, 2]))
    run.model.requires_grad_(False)
    made = finetune(run, batch_size=20, **QUICK)
    assert not torch.equal(made.encoder(run.dataset.inputs), run.encode(run.dataset.inputs))


class Pictures(nn.Module):
    """Takes images, and returns a code with three axes; with batch normalisation."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Sigmoid())
        self.decoder = nn.ConvTranspose2d(3, 1, 3)

    def encode(self, images):
        return self.encoder(images)

    def decode(self, code):
        return self.decoder(code)


def test_a_users_model_with_a_code_of_many_axes(same, tmp_path):
    data = {"kind": "digits", "splits": [301, 60, 100]}  # a last batch of one example
    config = recipe_config("ae", ["training.epochs=1", "training.reconstruction=squared-error"], dataset=data)
    torch.manual_seed(0)
    run = caelab.train(config, model=Pictures())
    made = finetune(run, out=tmp_path, **QUICK)
    assert made.predict_proba(run.dataset.test_inputs).shape == (100, 10)
    assert made.error() < 60
    assert same(caelab.load_classifier(made.path, run=run), made)
    with pytest.raises(CaelabError, match=r"given as objects; give that run again"):
        caelab.load_classifier(made.path)


@pytest.mark.parametrize(
    "settings",
    [
        ("rbm", ["model.hidden=20", "training.epochs=1"]),
        ("ae", ["model.hidden=[20,12]", "training.epochs=1"]),
        ("ae", ["model.kind=convolutional", "training.epochs=1"]),
        ("cae-2", ["model.hidden=[20,12]", "training.epochs=1"]),
        ("random", ["model.hidden=[20]"]),
        ("pca", ["model.hidden=20"]),
    ],
    ids=["rbm", "a stack", "convolutional", "a greedy stack", "a random start", "pca"],
)
def test_every_model_of_caelab(settings, same, tmp_path):
    recipe, own = settings
    config = recipe_config(recipe, own, dataset={"kind": "digits", "splits": [300, 60, 100]})
    made = finetune(caelab.train(config), epochs=15, optimizer="adam", learning_rate=0.02, out=tmp_path)
    assert made.error() < 60
    assert same(caelab.load_classifier(made.path), made)


def test_labels_may_be_given_by_their_names(toy_run, clusters):
    inputs, labels = clusters([0, 1, 2])
    words = np.array(["ape", "bee", "cat"])[labels]
    named = toy_run(inputs, labels)
    names = {"label_names": ("ape", "bee", "cat")}
    made = finetune(replace(named, dataset=replace(named.dataset, **names, content_hash="")), epochs=5)
    test = made.run.dataset.test
    found = made.score(made.run.dataset.inputs[test], words[test.numpy()])
    assert found == made.score(made.run.dataset.inputs[test], labels[test.numpy()])
    assert found > made.score(made.run.dataset.inputs[test], ["dog"] * len(test)) == 0


@pytest.mark.parametrize("method", ["fine-tuning", "frozen", "svm-rbf", "tangent-nearest-neighbours"])
def test_no_inputs_have_no_classes(run, method):
    made = finetune(run, method=method, labels=60, **({"epochs": 1} if method == "fine-tuning" else {}))
    assert made.predict(torch.zeros(0, 64)).shape == (0,)
    assert made.predict_proba(torch.zeros(0, 64)).shape == (0, len(made.classes))


def as_float64(run):
    return replace(
        run, model=deepcopy(run.model).double(), dataset=replace(run.dataset, inputs=run.dataset.inputs.double())
    )


def test_a_float64_model_stays_one(run):
    made = finetune(as_float64(run), **QUICK)
    assert {value.dtype for value in made.fitted.model.state_dict().values()} == {torch.float64}
    assert made.predict_proba(run.dataset.valid_inputs.double()).dtype == torch.float64


class TestRefusals:
    def test_no_labels(self, toy_run, clusters):
        with pytest.raises(NotApplicable, match="needs labels, but the data set 'toy' has none"):
            finetune(toy_run(clusters([0, 1])[0], None))

    def test_one_class(self, toy_run, clusters):
        with pytest.raises(
            NotApplicable, match="two classes, but the 120 labelled examples of 'toy' are all of the class 4"
        ):
            finetune(toy_run(clusters([0])[0], np.full(200, 4)))

    def test_more_labels_than_there_are(self, run):
        with pytest.raises(CaelabError, match=r"at most 300 labels, .* but 301 are asked for"):
            finetune(run, labels=301)

    def test_no_encoder(self, run):
        with pytest.raises(CaelabError, match=r"needs an encoder, but the model of 'cae', Linear, has no encode"):
            finetune(replace(run, model=nn.Linear(2, 2)))

    def test_nothing_to_tune(self, run):
        from caelab.runs.external import EncoderOnly

        plain = replace(run, model=EncoderOnly(lambda inputs: inputs.square()), record={"encoder": "mine:square"})
        with pytest.raises(NotApplicable, match="no weights that could be fine-tuned; take the method frozen"):
            finetune(plain)
        assert finetune(plain, method="frozen").error() < 20

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"method": "svm"}, "unknown method 'svm'; did you mean 'svm-rbf'"),
            ({"epoch": 3}, "fine-tuning: unknown option 'epoch'; did you mean 'epochs'"),
            ({"labels": 0}, "fine-tuning.labels: input should be greater than or equal to 1, but 0 came"),
            ({"labels": True}, "a number is expected, but True came"),
            ({"tangents": 3}, "both the number of tangents and tangent_weight"),
            ({"tangent_weight": 3}, "both the number of tangents and tangent_weight"),
            ({"dropout": 1.0}, "dropout: input should be less than 1"),
            ({"schedule": "step"}, "expected the key every"),
            ({"method": "frozen", "features": "inputs"}, "frozen: unknown option 'features'"),
            (
                {"method": "nearest-neighbours", "neighbours": [0]},
                r"^nearest-neighbours.neighbours.0: input should be greater than or equal to 1, but 0 came$",
            ),
            ({"method": "svm-rbf", "gamma": []}, "svm-rbf.gamma: list should have at least 1 item"),
            ({"device": "abacus"}, "device 'abacus' cannot be used"),
            ({"learning_rate": 1e38}, r"diverged: the validation loss is .* lower its learning_rate"),
            ({"tangents": 21, "tangent_weight": 1}, "at most 20 tangents, since the code has 20 dimensions"),
            ({"method": "tangent-nearest-neighbours", "tangents": 65}, "at most 20 tangents"),
        ],
    )
    def test_wrong_options(self, run, tmp_path, options, told):
        with pytest.raises(CaelabError, match=told):
            finetune(run, out=tmp_path / "out", **options)
        left = [path for path in (tmp_path / "out").rglob("*") if not path.name.startswith(".partial-")]
        assert left == []

    def test_what_is_no_run(self, tmp_path):
        with pytest.raises(CaelabError, match="expected a run or the folder of one, but 3 came"):
            finetune(3)
        with pytest.raises(CaelabError, match="is not a run"):
            finetune(tmp_path)
        with pytest.raises(CaelabError, match="is not finished; the command that was interrupted goes on"):
            finetune(tmp_path / ".partial-cae-0123456789ab")

    @pytest.mark.parametrize("method", ["fine-tuning", "frozen", "svm-rbf", "nearest-neighbours"])
    def test_no_validation_example_is_of_a_known_class(self, toy_run, clusters, method):
        """A cross-entropy of no example is NaN: that is no divergence, which a lower rate would mend."""
        inputs, _ = clusters([0, 1])
        with pytest.raises(
            NotApplicable, match=r"none of the 40 of 'toy' is of a class that the 120 labelled training"
        ):
            finetune(toy_run(inputs, np.arange(200)), method=method)

    def test_batches_of_one(self, toy_run, clusters):
        """The option is named as it is called here."""
        model = Autoencoder(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)), nn.Linear(5, 6))
        with pytest.raises(CaelabError, match="but batch_size is 1 for 120 examples; make it at least 2"):
            finetune(toy_run(*clusters([0, 1]), model=model), batch_size=1)

    @pytest.mark.parametrize("labels", [None, [None, None], ["1", "2"], [[1, 2], [3]], {}])
    def test_labels_that_are_none(self, tuned, labels):
        with pytest.raises(CaelabError, match=r"expected labels as numbers, but|one label for each of 2 inputs"):
            tuned.score(torch.zeros(2, 64), labels)

    def test_inputs_that_are_no_numbers(self, tuned):
        with pytest.raises(CaelabError, match="expected finite inputs"):
            tuned.predict(torch.full((2, 64), torch.nan))

    def test_a_progress_that_cannot_be_told(self, run):
        with pytest.raises(CaelabError, match=r"expected progress as True .*, a function or None .*, but 5 came"):
            finetune(run, progress=5)

    def test_wrong_questions(self, tuned):
        with pytest.raises(CaelabError, match=r"expected 'valid' or 'test' .* 'train' came"):
            tuned.error("train")
        with pytest.raises(CaelabError, match=r"inputs of shape \(batch, 64\), but \(2, 8, 8\) came"):
            tuned.predict(torch.zeros(2, 8, 8))
        with pytest.raises(CaelabError, match="one label for each of 3 inputs"):
            tuned.score(torch.zeros(3, 64), [1, 2])


def test_before_and_after_are_measured_by_every_analysis(run, tuned):
    from caelab.analysis.base import analyse

    after = tuned.as_run()
    assert isinstance(after, Run)
    assert after.path is None
    one, two = (analyse(each, "jacobian_norm", examples=20)["norm"] for each in (run, after))
    weight = tuned.encoder[0].weight.detach().double()
    h = torch.sigmoid(run.dataset.valid_inputs[:20].double() @ weight.T + tuned.encoder[0].bias.detach().double())
    expected = ((h * (1 - h)).square() @ weight.square().sum(dim=1)).sqrt()
    np.testing.assert_allclose(two, expected, rtol=1e-9)
    assert not np.allclose(one, two)


def test_data_larger_than_memory_are_read_batch_by_batch(run, same, tmp_path):
    """The inputs of a mapped data set stay in their file; the weights are those of the data in memory, in every bit."""
    data = run.dataset
    np.save(tmp_path / "x.npy", data.inputs.numpy())
    mapped = as_dataset((np.load(tmp_path / "x.npy", mmap_mode="r"), data.labels))
    assert mapped.mapped
    parts = {"train": data.train, "valid": data.valid, "test": data.test}
    other = replace(run, dataset=replace(mapped, **parts))
    for options in ({}, {"tangents": 2, "tangent_weight": 0.1}, {"dropout": 0.2}):
        made = finetune(other, labels=200, **QUICK, **options)
        assert same(finetune(run, labels=200, **QUICK, **options), made)
    assert not isinstance(examples_of(other.dataset, 200).train.rows, torch.Tensor)
    for method in ("frozen", "nearest-neighbours"):
        assert finetune(other, method=method).error("test") == finetune(run, method=method).error("test")
