import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from caelab.cli.main import main
from caelab.data import Samples, load_dataset
from caelab.data.patches import TEXTURE, cut_patches, photographs, textured_places
from caelab.data.variations import levels, stream, turned
from caelab.errors import CaelabError
from caelab.registry.catalogue import catalogue
from caelab.runs.config import make_config
from caelab.runs.recipes import recipe_config
from caelab.runs.run import dataset_of
from caelab.runs.settings import with_setting

KINDS = ("mnist-rot", "mnist-bg-rand", "mnist-bg-img", "mnist-bg-img-rot")
FEW = {"examples": 60}


def pictures(dataset):
    return (dataset.inputs * 255).round().numpy().astype(np.uint8).reshape(-1, *dataset.image_shape)


@pytest.fixture(scope="module")
def plain():
    """The digits that ``FEW`` takes of mnist5k."""
    found = load_dataset("mnist5k")
    kept = [place * 5000 // 60 for place in range(60)]
    return found.inputs[kept].reshape(-1, 28, 28).double().numpy(), found.labels[kept]


@pytest.fixture(scope="module")
def made():
    return {kind: load_dataset(kind, sampling_seed=3, **FEW) for kind in KINDS}


class TestTurning:
    def test_it_is_that_of_scipy(self, plain):
        angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        for image, angle, found in zip(plain[0], angles, turned(plain[0], angles), strict=True):
            other = ndimage.rotate(image, np.degrees(angle), reshape=False, order=1, mode="grid-constant")
            np.testing.assert_allclose(found, other, atol=1e-12)  # rounding in float64

    def test_the_edge_is_that_of_scipy_on_images_without_a_margin(self):
        images, angles = np.random.default_rng(0).random((20, 9, 9)), np.random.default_rng(1).random(20) * 7
        for image, angle, found in zip(images, angles, turned(images, angles), strict=True):
            other = ndimage.rotate(image, np.degrees(angle), reshape=False, order=1, mode="grid-constant")
            np.testing.assert_allclose(found, other, atol=1e-12)

    def test_a_quarter_turn_moves_pixels_and_changes_none(self, plain):
        quarters = turned(plain[0][:4], np.arange(4) * np.pi / 2)
        for quarter in range(4):
            np.testing.assert_allclose(quarters[quarter], np.rot90(plain[0][quarter], quarter), atol=1e-12)

    def test_each_digit_has_an_angle_of_its_own_and_all_are_uniform(self, plain, made):
        angles = 2 * np.pi * stream(3, "angles of digits").random(60)
        np.testing.assert_array_equal(pictures(made["mnist-rot"]), levels(turned(plain[0], angles)))
        many = 2 * np.pi * stream(0, "angles of digits").random(5000)
        assert stats.kstest(many, stats.uniform(0, 2 * np.pi).cdf).pvalue > 0.01

    def test_the_mass_turns_by_the_angle(self, made, plain):
        """Another look at the angle: the offset of the centre of mass from the middle is turned by it."""
        angles = 2 * np.pi * stream(3, "angles of digits").random(60)
        for before, after, angle in zip(plain[0], pictures(made["mnist-rot"]), angles, strict=True):
            (row, column), (new_row, new_column) = (
                np.subtract(ndimage.center_of_mass(each.astype(float)), 13.5) for each in (before, after)
            )
            expected = complex(column, -row) * np.exp(1j * angle)
            assert abs(complex(new_column, -new_row) - expected) < 0.1  # pixels, by the rounding to levels


class TestBackgrounds:
    def test_a_pixel_is_the_greater_of_digit_and_background(self, made, plain):
        digits = levels(plain[0])
        for kind in ("mnist-bg-rand", "mnist-bg-img"):
            found = pictures(made[kind])
            assert (found >= digits).all()
            np.testing.assert_array_equal(found[digits == 255], 255)

    def test_noise_is_uniform_and_of_every_pixel_its_own(self):
        dataset = load_dataset("mnist-bg-rand", examples=2000)
        corner = pictures(dataset)[:, 0, :4].astype(int)  # where no digit reaches
        counts = np.bincount(corner.ravel(), minlength=256)
        assert stats.chisquare(counts).pvalue > 0.01
        between = np.corrcoef(corner.T)[np.triu_indices(4, 1)]
        assert np.abs(between).max() < 4 / np.sqrt(2000)

    def test_each_patch_is_in_a_photograph_and_has_texture(self):
        patches = cut_patches(np.random.default_rng(0), 12, 28)
        for patch in patches:
            assert any(is_in(patch, photograph) for photograph in photographs())
            assert patch.astype(float).std() >= TEXTURE * 255
        assert not is_in(patches[0][::-1], photographs()[0])  # the search can fail

    def test_every_place_of_texture_is_one_that_numpy_finds(self):
        places = {tuple(place) for place in textured_places(28)}
        rng = np.random.default_rng(0)
        for _ in range(300):
            number, row, column = int(rng.integers(2)), int(rng.integers(400)), int(rng.integers(613))
            patch = photographs()[number][row : row + 28, column : column + 28].astype(float)
            assert ((number, row, column) in places) == (patch.std() >= TEXTURE * 255)
        assert 0.3 < len(places) / (2 * 400 * 613) < 0.9

    def test_grey_is_that_of_pillow(self):
        from PIL import Image
        from sklearn.datasets import load_sample_image

        for name, found in zip(("china.jpg", "flower.jpg"), photographs(), strict=True):
            other = np.asarray(Image.fromarray(load_sample_image(name)).convert("L"))
            assert np.abs(found.astype(int) - other).max() <= 1  # Pillow rounds its factors

    def test_turned_digits_before_photographs_are_both_of_the_same_seed(self, made):
        rot, img, both = (pictures(made[kind]) for kind in ("mnist-rot", "mnist-bg-img", "mnist-bg-img-rot"))
        corner = np.s_[:, :2, :2]  # the background alone
        np.testing.assert_array_equal(both[corner], np.maximum(img, rot)[corner])
        assert (both >= rot).all()
        unseen = rot == 0
        patches = cut_patches(stream(3, "patches behind digits"), 60, 28)
        np.testing.assert_array_equal(both[unseen], patches[unseen])
        np.testing.assert_array_equal(both, np.maximum(rot, patches))


def is_in(patch, photograph):
    """Whether a patch is somewhere in a photograph, by looking at every place."""
    windows = np.lib.stride_tricks.sliding_window_view(photograph, patch.shape)
    return any((windows[row, column] == patch).all() for row, column in np.argwhere(windows[:, :, 0, 0] == patch[0, 0]))


class TestSource:
    @pytest.mark.parametrize("kind", KINDS)
    def test_labels_shape_and_levels_are_those_of_the_source(self, kind, made, plain):
        dataset = made[kind]
        assert torch.equal(dataset.labels, plain[1])
        assert dataset.image_shape == (28, 28)
        assert torch.equal(dataset.inputs, (dataset.inputs * 255).round() / 255)

    @pytest.mark.parametrize("kind", KINDS)
    def test_no_test_digit_of_the_source_trains(self, kind, square_family):
        dataset = load_dataset(kind, source=f"idx:{square_family}", splits=(8, 4, 5))
        assert set(dataset.test.tolist()) == set(range(12, 17))
        assert sorted([*dataset.train.tolist(), *dataset.valid.tolist()]) == list(range(12))

    def test_a_pool_mixes_both_parts_and_still_splits_them_apart(self, square_family):
        source = {"kind": "idx", "path": str(square_family)}
        dataset = load_dataset("mnist-rot", source=source, pooled=True, splits=(4, 3, 10))
        parts = [*dataset.train.tolist(), *dataset.valid.tolist(), *dataset.test.tolist()]
        assert sorted(parts) == list(range(17))
        kept = load_dataset("mnist-rot", source=source)
        assert kept.content_hash == dataset.content_hash

    def test_examples_are_so_many_of_either_part(self, square_family):
        dataset = load_dataset("mnist-bg-rand", source=f"idx:{square_family}", examples=4, splits=(3, 1, 4))
        assert len(dataset.inputs) == 8
        assert set(dataset.test.tolist()) == set(range(4, 8))

    def test_small_digits_and_variations_of_variations_do(self):
        assert load_dataset("mnist-rot", source="digits").image_shape == (8, 8)
        twice = load_dataset("mnist-bg-img", source="mnist-rot", sampling_seed=3, **FEW)
        assert twice.image_shape == (28, 28)

    @pytest.mark.parametrize(("source", "told"), [
        ("circle", "of 'circle' it has no images"),
        ("npy:flat.npy", "has no images"),
        ("npy:square.npy", "has no labels"),
        ("npz:wide.npz", "its images are 4 x 6"),
        ("npz:colour.npz", "its images are in colour"),
        ("npz:large.npz", r"its pixels lie in \[0, 9\]"),
        ("mnist5", "did you mean 'mnist5k'"),
        ("idx:nowhere", "no folder at nowhere"),
        ({"path": "x"}, "has no kind"),
        ({"kind": "digits", "colour": 1}, "unknown option 'colour'"),
    ], ids=str)  # fmt: skip
    def test_what_is_no_source_is_told_in_one_sentence(self, source, told, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        np.save("flat.npy", np.zeros((3, 16)))
        np.save("square.npy", np.zeros((3, 4, 4)))
        y = np.arange(3)
        np.savez("wide.npz", x=np.zeros((3, 4, 6)), y=y)
        np.savez("colour.npz", x=np.zeros((3, 4, 4, 3)), y=y)
        np.savez("large.npz", x=np.arange(48).reshape(3, 4, 4) % 10, y=y)
        for kind in KINDS:
            with pytest.raises(CaelabError, match=told):
                load_dataset(kind, source=source)

    @pytest.mark.parametrize("options", [{"examples": 0}, {"sampling_seed": -1}, {"pooled": 2}, {"angle": 1}], ids=str)
    def test_options_that_do_not_exist_are_refused(self, options):
        with pytest.raises(CaelabError, match=f"mnist-rot.*{next(iter(options))}"):
            load_dataset("mnist-rot", **options)

    def test_images_that_no_photograph_has_room_for_are_refused(self, tmp_path):
        np.savez(tmp_path / "huge.npz", x=np.zeros((3, 500, 500)), y=np.arange(3))
        with pytest.raises(CaelabError, match=r"at most 427 x 427 pixels.*but 500 x 500 came"):
            load_dataset("mnist-bg-img", source=f"npz:{tmp_path / 'huge.npz'}")


@pytest.fixture
def square_family(tmp_path, idx_bytes):
    """12 images to train and 5 to test, as MNIST's files."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("t10k", 5)):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(rng.integers(0, 256, (count, 5, 5))))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(rng.integers(0, 10, count)))
    return tmp_path


class TestPublishedSizes:
    def test_a_kind_states_them_with_the_options_that_they_need(self):
        found = {
            kind: catalogue().get("dataset", kind).facts.published for kind in (*KINDS, "rect", "rect-img", "convex")
        }
        assert {found[kind].sizes for kind in (*KINDS, "rect-img")} == {(10_000, 2_000, 50_000)}
        assert found["rect"].sizes == (1_000, 200, 50_000)
        assert found["convex"].sizes == (6_000, 2_000, 50_000)
        for kind in ("rect", "rect-img", "convex"):
            assert found[kind].options == {"samples": sum(found[kind].sizes)}

    def test_with_few_digits_they_cannot_be_met_and_that_is_told(self):
        with pytest.raises(CaelabError, match="has 5000 examples, but the splits ask for 62000; ask for fewer"):
            load_dataset("mnist-bg-rand", splits="published")

    def test_they_are_met_where_examples_are_generated(self):
        dataset = load_dataset("rect", splits="published")
        assert [len(part) for part in (dataset.train, dataset.valid, dataset.test)] == [1_000, 200, 50_000]

    def test_of_others_none_are_known(self):
        with pytest.raises(CaelabError, match="'digits' has no published sizes"):
            load_dataset("digits", splits="published")
        with pytest.raises(CaelabError, match=r"expected splits as three whole numbers.*but 'puplished' came"):
            load_dataset("rect", splits="puplished")

    def test_a_config_may_ask_for_them(self):
        config = recipe_config("ae").as_dict()
        asked = make_config({**config, "dataset": {"kind": "rect", "splits": "published"}})
        assert asked.as_dict()["dataset"] == {
            "kind": "rect", "splits": [1_000, 200, 50_000], "samples": 51_200, "sampling_seed": 0,
        }  # fmt: skip
        assert make_config(asked.as_dict()) == asked
        before = make_config({**config, "dataset": {"kind": "rect"}}).as_dict()  # has the default of every option
        assert make_config(with_setting(before, "dataset.splits", "published")).as_dict() == asked.as_dict()
        with pytest.raises(CaelabError, match="'digits' has no published sizes"):
            make_config({**config, "dataset": {"kind": "digits", "splits": "published"}})
        with pytest.raises(CaelabError, match=r"dataset\.splits"):
            make_config({**config, "dataset": {"kind": "rect", "splits": "all"}})


class TestInRuns:
    @pytest.mark.parametrize(
        "named", [lambda f: f"idx:{f}", lambda f: {"kind": "idx", "path": str(f)}], ids=["text", "block"]
    )
    def test_a_source_that_changed_is_read_again(self, named, square_family):
        """A process keeps its last data sets in memory, until a file of theirs changes."""
        plain = recipe_config("ae", ["dataset.splits=[8,4,5]"]).as_dict()
        config = make_config(
            {**plain, "dataset": {"kind": "mnist-rot", "source": named(square_family), "splits": [8, 4, 5]}}
        )
        before = dataset_of(config)
        assert dataset_of(config) is before
        labels = square_family / "train-labels-idx1-ubyte"
        content = labels.read_bytes()
        labels.write_bytes(content[:-1] + bytes([(content[-1] + 1) % 10]))
        assert dataset_of(config).content_hash != before.content_hash

    @pytest.mark.parametrize(("setting", "told"), [
        ("source=circle", "it has no images"), ("source=mnist5", "did you mean 'mnist5k'"), ("examples=0", "examples"),
        ("turn=1", "turn"), ("splits=published", "the splits ask for 62000"),
    ])  # fmt: skip
    def test_wrong_input_ends_training_in_one_sentence_before_anything_is_written(
        self, setting, told, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as stopped:
            main(["train", "ae", "--dataset", "mnist-bg-rand", "--set", f"dataset.{setting}"])
        said = capsys.readouterr().err
        assert stopped.value.code == 2
        assert said.count("\n") == 1
        assert told in said
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]


HASHES = {
    "mnist-rot": "41bb56c64cb52e6537077a7ae750800980a171d4b36b4c4c71cdbffa1ddf6ee7",
    "mnist-bg-rand": "340cf9e6c10e874ca0d748486509b552bbe722b91aa0fe2dad2c5b7d71db5352",
    "mnist-bg-img": "49fef20b294aaacdda70bab41abbd1b8b55cd11b2f1b0465e932b81c1558a0fd",
    "mnist-bg-img-rot": "36493ef207d25965035121022cf50bd4bdd6076335be7cfa460ffb502b8fa529",
    "rect": "1021a6401748fa90f112493b353f0b208a39a59a2b0374fbabc02932fb550416",
    "rect-img": "6e254ba5c0d1e73a6c872aa1529c43df557d14d64c06d09e6ac694404802294e",
    "convex": "cf7fd85eb9bb7be53d0aeb4937ae5f6ad8320920fd8e67761efe3bc3fb3ac03a",
}


def some(kind, **options):
    return load_dataset(kind, **({"examples": 60} if kind in KINDS else {"samples": 60}), **options)


@pytest.mark.parametrize("kind", HASHES)
class TestContent:
    def test_it_stays_what_it_is(self, kind):
        assert some(kind).content_hash == HASHES[kind]

    def test_it_depends_on_the_seed_and_on_nothing_global(self, kind):
        before = some(kind, sampling_seed=1).content_hash
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(5)
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            assert some(kind, sampling_seed=1).content_hash == before != some(kind, sampling_seed=2).content_hash
        finally:
            torch.set_num_threads(threads)

    def test_it_leaves_global_generators_alone(self, kind):
        state = torch.get_rng_state()
        drawn = np.random.get_state()[1].copy()  # noqa: NPY002
        loader = catalogue().get("dataset", kind)
        assert isinstance(loader(**({"examples": 20} if kind in KINDS else {"samples": 20})), Samples)
        assert torch.equal(torch.get_rng_state(), state)
        np.testing.assert_array_equal(np.random.get_state()[1], drawn)  # noqa: NPY002
