import numpy as np
import pytest
from PIL import Image

from caelab.cli.datasets import _labels
from caelab.data import load_dataset
from caelab.data.images import images
from caelab.errors import CaelabError

RNG = np.random.default_rng(0)


def draw(path, shape=(4, 5), mode=None):
    """Save a random image, lossless, and return its pixels."""
    path.parent.mkdir(exist_ok=True)
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return pixels


def test_subfolders_are_labels_in_the_order_of_their_names(tmp_path):
    pixels = {name: draw(tmp_path / name) for name in ("cat/2.png", "cat/10.png", "bird/1.bmp", "dog/a.png")}
    (tmp_path / "empty").mkdir()
    (tmp_path / "readme.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    dataset = load_dataset(f"images:{tmp_path}")
    assert dataset.labels.tolist() == [0, 1, 1, 2]
    order = ["bird/1.bmp", "cat/10.png", "cat/2.png", "dog/a.png"]
    expected = np.stack([pixels[name].ravel() for name in order]) / np.float32(255)
    np.testing.assert_array_equal(dataset.inputs.numpy(), expected)
    assert dataset.image_shape == (4, 5)


@pytest.mark.parametrize(
    ("folders", "labels", "names"),
    [
        (["7"], [7], None),
        (["10", "2", "0", "1"], [0, 1, 2, 10], None),
        (["00", "01", "12"], [0, 1, 12], None),
        (["1", "01", "2"], [0, 1, 2], ("01", "1", "2")),
        (["-1", "0", "1"], [0, 1, 2], ("-1", "0", "1")),
        (["1", "2", "none"], [0, 1, 2], ("1", "2", "none")),
        (["²", "1"], [0, 1], ("1", "²")),
        (["9" * 30, "1"], [0, 1], ("1", "9" * 30)),
    ],
)
def test_folders_that_are_called_by_numbers_are_these_labels(tmp_path, folders, labels, names):
    for folder in folders:
        (tmp_path / folder).mkdir()
        for place in range(5):
            Image.fromarray(np.full((2, 2), place, np.uint8)).save(tmp_path / folder / f"{place}.png")
    found = load_dataset(f"images:{tmp_path}", splits=(2, 1, 1))
    assert found.labels.unique().tolist() == labels
    assert found.label_names == names
    assert f"{folders[0]}: 5" in _labels(found) or names is None
    assert len(folders) > 1 or _labels(found) == "7: 5"


def test_a_folder_without_subfolders_has_no_labels(tmp_path):
    for i in range(3):
        draw(tmp_path / f"{i}.png")
    dataset = load_dataset(f"images:{tmp_path}")
    assert dataset.labels is None
    assert dataset.inputs.shape == (3, 20)


def test_colour_is_kept_or_made_grey(tmp_path):
    pixels = draw(tmp_path / "a.png", (4, 5, 3))
    draw(tmp_path / "b.png", (4, 5))  # one colour file makes all of them colour
    colour, grey = images(str(tmp_path)), images(str(tmp_path), greyscale=True)
    assert colour.image_shape == (4, 5, 3)
    np.testing.assert_array_equal(colour.inputs[0], pixels.ravel() / np.float32(255))
    assert grey.image_shape == (4, 5)
    luminance = pixels @ np.array([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(grey.inputs[0], luminance.ravel(), atol=0.51 / 255)  # Pillow rounds to bytes


def refused(path, *words):
    with pytest.raises(CaelabError) as caught:
        images(str(path))
    for word in words:
        assert word in str(caught.value)


def test_images_of_two_sizes_are_refused(tmp_path):
    draw(tmp_path / "a.png", (4, 5))
    draw(tmp_path / "b.png", (5, 4))
    refused(tmp_path, "b.png is 5 x 4", "a.png 4 x 5", "scale or crop")


def test_sixteen_bits_are_refused_since_they_would_be_clipped(tmp_path):
    Image.fromarray(np.full((4, 5), 4000, np.uint16)).save(tmp_path / "a.png")
    refused(tmp_path, "a.png", "expected 8 bits a channel", "I;16")


@pytest.mark.parametrize("content", [b"not an image", b""])
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    draw(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(content)
    refused(tmp_path, "b.png is no image")


def test_a_truncated_image_is_named(tmp_path):
    draw(tmp_path / "a.png", (64, 64))
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    refused(tmp_path, "a.png is no image that can be read")


def test_missing_empty_and_mixed_folders_are_refused(tmp_path):
    refused(tmp_path / "none", "no folder at")
    refused(tmp_path, "holds no images: expected files with one of .bmp")
    draw(tmp_path / "a.png")
    draw(tmp_path / "cat" / "b.png")
    refused(tmp_path, "both images (a.png) and subfolders of images (cat)")
