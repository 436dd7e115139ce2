import numpy as np
import pytest
from scipy import ndimage, stats
from scipy.spatial import ConvexHull, QhullError

from caelab.data import load_dataset
from caelab.data.convexity import OF_CONVEX, OF_UNION, are_convex, intersections, unions
from caelab.data.patches import photographs
from caelab.data.rectangles import admitted, drawn
from caelab.data.variations import stream
from caelab.errors import CaelabError


def pictures(dataset):
    return dataset.inputs.numpy().reshape(-1, 28, 28)


@pytest.fixture(scope="module")
def outlines():
    return load_dataset("rect", samples=600)


@pytest.fixture(scope="module")
def regions():
    return load_dataset("convex", samples=400)


class TestOutlines:
    def test_each_is_the_border_of_its_bounding_box_and_its_label_says_which_side_is_longer(self, outlines):
        for image, label in zip(pictures(outlines), outlines.labels.tolist(), strict=True):
            ((rows, columns),) = ndimage.find_objects(image.astype(int))
            height, width = rows.stop - rows.start, columns.stop - columns.start
            expected = np.zeros((28, 28))
            expected[rows, columns] = 1
            expected[rows.start + 1 : rows.stop - 1, columns.start + 1 : columns.stop - 1] = 0
            np.testing.assert_array_equal(image, expected)
            assert (height > width) == (outlines.label_names[label] == "tall")
            assert abs(height - width) >= 3
            assert min(height, width) >= 3

    def test_labels_are_balanced_in_random_order(self, outlines):
        assert outlines.labels.bincount().tolist() == [300, 300]
        runs = 1 + int((outlines.labels.diff() != 0).sum())
        assert abs(runs - 301) < 4 * np.sqrt(150)  # as of a random order
        assert load_dataset("rect", samples=7, splits=(3, 2, 2)).labels.bincount().tolist() == [4, 3]

    def test_sides_and_corners_are_uniform_where_they_may_be(self):
        labels = np.ones(40_000, int)
        pairs = admitted(3, 3, (0, 1))
        assert len(pairs) == sum(1 for long in range(29) for short in range(3, long - 2))
        inside, _ = drawn(np.random.default_rng(0), labels, pairs)
        height, width = inside.any(axis=2).sum(axis=1), inside.any(axis=1).sum(axis=1)
        counts = np.unique(height * 100 + width, return_counts=True)[1]
        assert len(counts) == len(pairs)
        assert stats.chisquare(counts).pvalue > 0.01
        left = inside.any(axis=1).argmax(axis=1)[width == 10]
        assert stats.chisquare(np.bincount(left, minlength=19)).pvalue > 0.01


class TestFilledRectangles:
    def test_they_are_one_patch_on_another(self):
        dataset = load_dataset("rect-img", samples=200, sampling_seed=2)
        labels = dataset.labels.numpy()
        inside, _ = drawn(stream(2, "filled rectangles"), labels, admitted(10, 5, (0.25, 0.75)))
        for region, label in zip(inside, labels, strict=True):
            ((rows, columns),) = ndimage.find_objects(region.astype(int))
            height, width = rows.stop - rows.start, columns.stop - columns.start
            assert region[rows, columns].all()
            assert (height > width) == (label == 1)
            assert min(height, width) >= 10
            assert abs(height - width) >= 5
            assert 196 <= height * width <= 588
        for image, region in zip(pictures(dataset)[:4], inside, strict=False):
            grey = np.rint(255 * image).astype(np.uint8)
            assert fits(grey, region)
            assert fits(grey, ~region)
            assert not fits(grey, region | True)  # two patches, not one

    def test_labels_are_balanced(self):
        dataset = load_dataset("rect-img", samples=100)
        assert dataset.labels.bincount().tolist() == [50, 50]
        assert dataset.label_names == ("wide", "tall")


def fits(image, region):
    """Whether the pixels of a region are those of a photograph at some place, by looking at every place."""
    for photograph in photographs():
        windows = np.lib.stride_tricks.sliding_window_view(photograph, (28, 28))
        places = np.ones(windows.shape[:2], bool)
        for row, column in np.argwhere(region)[:: max(1, region.sum() // 40)]:
            places &= windows[:, :, row, column] == image[row, column]
        if any((windows[row, column][region] == image[region]).all() for row, column in np.argwhere(places)):
            return True
    return False


def is_convex(region):
    """Every pixel whose centre lies in the convex hull belongs to the region, by the hull's inequalities."""
    points = np.argwhere(region)
    try:
        hull = ConvexHull(points)
    except QhullError:  # on a line: no two neighbours on it are further apart than the line's smallest step
        steps = np.diff(points, axis=0)
        return bool((np.gcd(*np.abs(steps).T) == 1).all())
    everywhere = np.argwhere(np.ones_like(region))
    inside = (everywhere @ hull.equations[:, :2].T + hull.equations[:, 2] <= 1e-9).all(axis=1)
    return inside.sum() == len(points)


class TestConvexity:
    def test_labels_are_those_of_the_convex_hull(self, regions):
        found = [is_convex(region) for region in pictures(regions) > 0]
        assert found == (regions.labels == 1).tolist()
        assert regions.labels.bincount().tolist() == [200, 200]
        assert regions.label_names == ("not convex", "convex")

    def test_the_test_of_convexity_agrees_with_the_hull_on_any_regions(self):
        rng = np.random.default_rng(0)
        scattered = np.zeros((600, 28, 28), bool)
        for region in scattered:
            corners = rng.integers(0, 6, (rng.integers(1, 7), 2)) + rng.integers(0, 22, 2)
            region[tuple(corners.T)] = True
        hulls = np.stack([filled(region) for region in scattered])
        dented = hulls & (rng.random(hulls.shape) > 0.02)
        dented |= scattered
        every = np.concatenate([scattered, hulls, dented, scattered.transpose(0, 2, 1)])
        expected = [is_convex(region) for region in every]
        assert are_convex(every).tolist() == expected
        assert 0.2 < np.mean(expected) < 0.9

    def test_a_convex_region_is_in_one_piece_and_has_19_pixels_and_a_part_10(self, regions):
        for region in pictures(regions)[regions.labels == 1]:
            assert ndimage.label(region, np.ones((3, 3)))[1] == 1
        sizes = pictures(regions).sum(axis=(1, 2))
        assert sizes[regions.labels == 1].min() >= 19
        assert unions(np.random.default_rng(0)).sum(axis=(1, 2)).min() >= 10

    def test_the_number_of_pixels_hardly_tells_the_label(self):
        """The published set has the same mean number of pixels for both labels."""
        dataset = load_dataset("convex", samples=8000)
        sizes = pictures(dataset).sum(axis=(1, 2))
        ones, others = sizes[dataset.labels == 1], sizes[dataset.labels == 0]
        assert abs(others.mean() - ones.mean()) < 0.15 * sizes.std()
        for found, mean in ((ones, 112), (others, 120)):
            assert abs(found.mean() - mean) < 4 * found.std() / np.sqrt(len(found)) + 1

    def test_a_few_regions_are_as_large_as_many(self, regions):
        """A part of a block of candidates is like the whole of it."""
        ones = pictures(regions)[regions.labels == 1].sum(axis=(1, 2))
        assert abs(ones.mean() - 112) < 4 * ones.std() / np.sqrt(len(ones))

    @pytest.mark.parametrize("parameter", [OF_CONVEX, OF_UNION])
    def test_regions_that_follow_each_other_are_independent(self, parameter):
        """Their sizes are, which fall with the number of half-planes; so the parts of a union are."""
        first, last = intersections(np.random.default_rng(0), parameter, 10)
        sizes = np.maximum(last - first + 1, 0).sum(axis=1)
        places = np.arange(len(sizes))
        for rho in (stats.spearmanr(places, sizes).statistic, stats.spearmanr(sizes[1:], sizes[:-1]).statistic):
            assert abs(rho) < 4 / np.sqrt(len(sizes))


def filled(region):
    """All pixels whose centres lie in the convex hull."""
    points = np.argwhere(region)
    try:
        hull = ConvexHull(points)
    except QhullError:
        return region
    everywhere = np.argwhere(np.ones_like(region))
    inside = (everywhere @ hull.equations[:, :2].T + hull.equations[:, 2] <= 1e-9).all(axis=1)
    return inside.reshape(region.shape)


@pytest.mark.parametrize("kind", ["rect", "rect-img", "convex"])
def test_more_images_than_the_memory_holds_are_refused_before_any_is_made(kind, monkeypatch):
    monkeypatch.setattr("caelab.data.memory.free_memory", lambda: 2**20)
    with pytest.raises(
        CaelabError, match=f"^data set '{kind}', 5000 images, would take .* are free; ask for fewer samples"
    ):
        load_dataset(kind)
    monkeypatch.undo()
    with pytest.raises(CaelabError, match="ask for fewer samples"):
        load_dataset(kind, samples=10**9)


@pytest.mark.parametrize("kind", ["rect", "rect-img", "convex"])
@pytest.mark.parametrize(
    "options", [{"samples": 0}, {"samples": True}, {"sampling_seed": -1}, {"source": "mnist5k"}], ids=str
)
def test_impossible_options_are_one_sentence(kind, options):
    with pytest.raises(CaelabError, match=rf"^{kind}.*{next(iter(options))}"):
        load_dataset(kind, **options)
