"""Pictures are what people see: transparency, orientation, pages and frames, formats, and files that claim too much."""

import io
import os
import struct
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from caelab.data import load_dataset, memory
from caelab.data.images import images
from caelab.errors import CaelabError
from caelab.runs.recipes import recipe_config
from caelab.training import train

RNG = np.random.default_rng(0)
DIGIT = RNG.integers(0, 256, (5, 4), dtype=np.uint8)  # opaque where a digit is drawn, in whatever colour


def seen(folder, **options):
    """The pictures of a folder as whole numbers from 0 to 255, (n, height, width[, 3])."""
    samples = images(str(folder), **options)
    return np.rint(np.asarray(samples.inputs) * 255).reshape(-1, *samples.image_shape)


def over(colour, alpha, background):
    """A colour laid on a grey level: a c + (1 - a) g, in float64."""
    share = np.asarray(alpha, float) / 255
    return share * np.asarray(colour, float) + (1 - share) * background


def black_digit(mode):
    """A black digit on nothing, as drawing programs store it: all colours 0, the shape in the alpha channel alone."""
    alpha = Image.fromarray(DIGIT)
    image = Image.new("RGB" if mode == "RGBA" else "L", alpha.size)
    image.putalpha(alpha)
    assert image.mode == mode
    return image


TRANSPARENT = {
    "RGBA.png": lambda path: black_digit("RGBA").save(path),
    "LA.png": lambda path: black_digit("LA").save(path),
    "RGBA.webp": lambda path: black_digit("RGBA").save(path, lossless=True),
    "RGBA.tiff": lambda path: black_digit("RGBA").save(path),
    "LA.tif": lambda path: black_digit("LA").save(path),
}


@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0), (128, 128), (255, 255)])
@pytest.mark.parametrize("name", TRANSPARENT)
def test_a_black_digit_on_nothing_is_seen_on_its_background(tmp_path, name, background, level):
    TRANSPARENT[name](tmp_path / name)
    found = seen(tmp_path, background=background, greyscale=True)[0]
    np.testing.assert_allclose(found, over(0, DIGIT, level), atol=1)  # Pillow rounds to bytes
    assert (np.ptp(found) > 100) == (level > 0)


def test_white_is_the_background_where_none_is_asked_for(tmp_path):
    black_digit("LA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(seen(tmp_path), seen(tmp_path, background="white"))


@pytest.mark.parametrize("background", [0, 77, 255])
def test_colours_that_are_half_transparent_are_mixed_with_the_background(tmp_path, background):
    pixels = RNG.integers(0, 256, (6, 7, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = over(pixels[..., :3], pixels[..., 3:], background)
    np.testing.assert_allclose(seen(tmp_path, background=background)[0], expected, atol=1)


def test_what_is_opaque_is_kept_to_the_last_bit(tmp_path):
    pixels = RNG.integers(0, 256, (6, 7, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(seen(tmp_path)[0], pixels[..., :3])


def palette(alphas):
    image = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8), mode=None).convert("P")
    image.putdata([0, 1, 2, 2, 1, 0])
    image.putpalette([0, 0, 0, 255, 0, 0, 9, 9, 9])
    return image, {"transparency": alphas}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: palette(bytes([255, 128, 0])), [[[0] * 3, [255, 127, 127], [255] * 3]]),
        (lambda: palette(1), [[[0] * 3, [255] * 3, [9] * 3]]),
        (lambda: (Image.fromarray(np.array([[0, 7, 9]], np.uint8)), {"transparency": 7}), [[0, 255, 9]]),
        (lambda: (Image.fromarray(np.full((1, 1, 3), 5, np.uint8)), {"transparency": (5, 5, 5)}), [[[255] * 3]]),
        (lambda: (Image.fromarray(np.array([[False, True]])), {"transparency": 0}), [[255, 255]]),
    ],
    ids=["palette of alphas", "palette with a hole", "grey with a hole", "colour with a hole", "one bit with a hole"],
)
def test_one_colour_that_stands_for_nothing_shows_the_background(tmp_path, make, expected):
    image, options = make()
    image.save(tmp_path / "a.png", **options)
    np.testing.assert_allclose(seen(tmp_path)[0][:1], expected, atol=1)


def test_a_hole_in_a_gif_shows_the_background(tmp_path):
    image, options = palette(2)
    image.save(tmp_path / "a.gif", **options)
    np.testing.assert_array_equal(seen(tmp_path)[0][0], [[0, 0, 0], [255, 0, 0], [255, 255, 255]])


@pytest.mark.parametrize("value", [-1, 256, "pink", 1.5])
def test_a_background_that_is_none_is_refused(tmp_path, value):
    black_digit("LA").save(tmp_path / "a.png")
    with pytest.raises(CaelabError, match="background"):
        load_dataset(f"images:{tmp_path}", background=value)


TURNS = {  # how a picture that a person holds upright lies in the file, by the value of the tag
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: np.rot90(upright, -1),
}
SQUARE = np.ones((8, 8), np.uint8)  # which JPEG keeps
UPRIGHT = np.kron(np.array([[10, 90, 240], [200, 0, 60]], np.uint8), SQUARE)


@pytest.mark.parametrize("tag", TURNS)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("colour", [False, True])
def test_a_picture_is_turned_as_its_orientation_says(tmp_path, tag, suffix, colour):
    upright = np.stack([UPRIGHT, UPRIGHT // 2, 255 - UPRIGHT], axis=2) if colour else UPRIGHT
    exif = Image.Exif()
    exif[0x0112] = tag
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    Image.fromarray(np.ascontiguousarray(TURNS[tag](upright))).save(tmp_path / f"a.{suffix}", exif=exif, **options)
    found = seen(tmp_path, greyscale=not colour)[0]
    np.testing.assert_allclose(found, upright, atol=2 if suffix == "jpg" else 0)


def test_sizes_are_compared_after_turning(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(UPRIGHT).save(tmp_path / "a.png")
    Image.fromarray(np.ascontiguousarray(np.rot90(UPRIGHT))).save(tmp_path / "b.png", exif=exif)
    np.testing.assert_array_equal(*seen(tmp_path))
    Image.fromarray(np.ascontiguousarray(np.rot90(UPRIGHT))).save(tmp_path / "c.png")
    with pytest.raises(CaelabError, match=r"c.png is 24 x 16 and .*a.png 16 x 24"):
        images(str(tmp_path))


PAGES = RNG.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)


def save_pages(path, pages, **options):
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(path, save_all=True, append_images=others, **options)


@pytest.mark.parametrize(("suffix", "options"), [("tif", {}), ("png", {}), ("webp", {"lossless": True})])
def test_every_page_and_every_frame_is_an_example(tmp_path, suffix, options):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    save_pages(tmp_path / "one" / f"a.{suffix}", PAGES[:3], **options)
    save_pages(tmp_path / "two" / f"a.{suffix}", PAGES[3:], **options)
    dataset = load_dataset(f"images:{tmp_path}", splits=(2, 1, 1))
    np.testing.assert_array_equal(np.rint(dataset.inputs.numpy() * 255), PAGES.reshape(4, -1))
    assert dataset.labels.tolist() == [0, 0, 0, 1]


def test_the_frames_of_an_animated_gif_are_as_they_are_shown(tmp_path):
    grey = RNG.integers(0, 256, (4, 5, 6), dtype=np.uint8)
    save_pages(tmp_path / "a.gif", grey)
    np.testing.assert_array_equal(seen(tmp_path), grey)
    coloured = np.repeat(grey[..., None], 3, axis=3)
    coloured[3, 0, 0] = 250, 10, 20  # one pixel of one frame
    save_pages(tmp_path / "a.gif", coloured)
    np.testing.assert_array_equal(seen(tmp_path), coloured)


def test_sixty_pages_are_sixty_examples_each_of_its_own_kind(tmp_path):
    pages = RNG.integers(0, 256, (60, 5, 6), dtype=np.uint8)
    save_pages(tmp_path / "stack.tiff", pages)
    np.testing.assert_array_equal(seen(tmp_path), pages)
    save_pages(tmp_path / "colours.tiff", PAGES)
    mixed = seen(tmp_path)
    assert mixed.shape == (64, 5, 6, 3)
    np.testing.assert_array_equal(mixed[:4], PAGES)
    np.testing.assert_array_equal(mixed[4:], np.repeat(pages[..., None], 3, axis=3))


@pytest.mark.parametrize("kind", [1, 4, 5])
def test_previews_and_masks_in_a_tiff_are_no_examples(tmp_path, kind):
    first, second = (Image.fromarray(page) for page in PAGES[:2])
    extra = Image.fromarray(PAGES[2, :2, :2])
    extra.encoderinfo = {"tiffinfo": {254: kind}}
    first.save(tmp_path / "a.tif", save_all=True, append_images=[extra, second])
    np.testing.assert_array_equal(seen(tmp_path), PAGES[:2])


def test_the_stand_in_of_an_animated_png_is_no_frame(tmp_path):
    save_pages(tmp_path / "a.png", PAGES, default_image=True)
    np.testing.assert_array_equal(seen(tmp_path), PAGES[1:])


def test_of_a_photograph_with_a_preview_the_photograph_is_read(tmp_path):
    flat = np.full((16, 16, 3), 100, np.uint8)
    save_pages(tmp_path / "a.jpg", [flat, flat // 2], format="MPO")
    np.testing.assert_allclose(seen(tmp_path), flat[None], atol=1)


WAYS = {
    "png": ["1", "P"],
    "tif": ["1", "CMYK", "YCbCr", "RGBX"],
    "bmp": ["L", "P"],
    "pgm": ["L"],
    "ppm": ["RGB"],
    "gif": ["P"],
    "jpg": ["CMYK", "YCbCr"],
}


@pytest.mark.parametrize(("suffix", "mode"), [(suffix, mode) for suffix, modes in WAYS.items() for mode in modes])
def test_other_ways_to_store_the_same_picture_look_the_same(tmp_path, mode, suffix):
    squares = np.kron(np.array([[0, 255], [255, 0]], np.uint8), SQUARE)
    Image.fromarray(squares).convert("RGB" if mode == "RGBX" else mode).convert(mode).save(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(seen(tmp_path, greyscale=True)[0], squares, atol=2)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_small_palette_is_read_by_its_colours(tmp_path, bits):
    image, _ = palette(0)
    image.save(tmp_path / "a.png", bits=max(bits, 2))
    np.testing.assert_array_equal(seen(tmp_path)[0][0], [[0] * 3, [255, 0, 0], [9] * 3])


def test_colour_of_sixteen_bits_is_read_by_its_eight_highest(tmp_path):
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    row = b"\0" + struct.pack(">6H", 0xFFFF, 0, 0x8000, 0x1234, 0x00FF, 0x0100)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert seen(tmp_path)[0].tolist() == [[[255, 0, 128], [18, 0, 1]]]


def test_a_gamma_in_the_file_changes_no_pixel(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100_000))
    Image.fromarray(DIGIT).save(tmp_path / "a.png", pnginfo=info)
    np.testing.assert_array_equal(seen(tmp_path)[0], DIGIT)


@pytest.mark.parametrize("mode", ["I;16", "I", "F", "LAB"])
def test_other_depths_and_colour_spaces_are_refused(tmp_path, mode):
    Image.new(mode, (3, 2)).save(tmp_path / "a.tif")
    with pytest.raises(CaelabError, match=f"expected 8 bits a channel, grey or colour, but its pixels .* {mode}"):
        images(str(tmp_path))


def folders(tmp_path, names):
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(DIGIT).save(tmp_path / name / "a.png")


@pytest.mark.parametrize(
    "names",
    [
        ["-1", "0", "3"],
        ["class2", "class10"],
        ["bird", "cat"],
        ["a 1 b 2", "a 1 b 10", "a 2"],
        ["7", "seven"],
        ["été", "hiver"][::-1],
    ],
)
def test_label_folders_are_in_the_order_of_their_numbers_and_keep_their_names(tmp_path, names):
    folders(tmp_path, sorted(names, key=lambda name: name[::-1]))
    samples = images(str(tmp_path))
    assert samples.label_names == tuple(names)
    assert samples.labels.tolist() == list(range(len(names)))


@pytest.mark.parametrize(
    ("names", "labels"), [(["100", "2", "10", "1"], [1, 2, 10, 100]), (["007", "8", "0010"], [7, 8, 10])]
)
def test_label_folders_that_are_numbers_are_the_labels(tmp_path, names, labels):
    folders(tmp_path, names)
    samples = images(str(tmp_path))
    assert samples.label_names is None
    assert samples.labels.tolist() == labels


def test_label_names_are_kept_with_the_data_and_in_their_hash(tmp_path):
    folders(tmp_path / "a", ["a1", "a2", "a10"])
    folders(tmp_path / "b", ["a1", "a2", "a11"])
    one, other = (load_dataset(f"images:{tmp_path / name}") for name in "ab")
    assert one.label_names == ("a1", "a2", "a10")
    assert one.content_hash != other.content_hash
    assert load_dataset("digits").label_names is None


def test_label_names_are_in_the_record_of_a_run(tmp_path):
    folders(tmp_path, ["a1", "a2", "a10"])
    config = recipe_config("ae", ["training.epochs=0", "model.hidden=2"], dataset={"kind": f"images:{tmp_path}"})
    assert train(config).record["data"]["label_names"] == ["a1", "a2", "a10"]


def test_what_is_hidden_or_no_image_is_left_out_and_capital_suffixes_are_read(tmp_path):
    for name in ("A.PNG", "b.Jpg", ".hidden.png", "._c.png", "notes.txt"):
        Image.fromarray(UPRIGHT).save(tmp_path / name, format="PNG")
    (tmp_path / "empty").mkdir()
    (tmp_path / "Thumbs.db").write_bytes(b"")
    assert len(seen(tmp_path)) == 2  # the format is told by the content, not by the name


def test_links_are_followed_and_a_link_to_nothing_is_refused(tmp_path):
    folders(tmp_path, ["real"])
    (tmp_path / "real" / "b.png").symlink_to(tmp_path / "real" / "a.png")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    assert images(str(tmp_path)).labels.tolist() == [0, 0, 1, 1]
    (tmp_path / "real" / "c.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(CaelabError, match=r"c\.png is a link to nothing"):
        images(str(tmp_path))


def test_images_two_levels_down_are_not_left_out_in_silence(tmp_path):
    folders(tmp_path, ["cat", "dog/old"])
    with pytest.raises(CaelabError, match=r"old holds images two levels down"):
        images(str(tmp_path))


def test_a_file_in_place_of_the_folder_is_called_so(tmp_path):
    Image.fromarray(DIGIT).save(tmp_path / "a.png")
    with pytest.raises(CaelabError, match=r"a\.png, which is a file"):
        images(str(tmp_path / "a.png"))


@pytest.mark.skipif(os.getuid() == 0, reason="the root user may read every folder")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(CaelabError, match="shut cannot be read"):
        images(str(tmp_path))


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm"])
def test_postscript_starts_no_program_whatever_it_is_called(tmp_path, suffix, monkeypatch):
    def refuse(*_, **__):
        pytest.fail("a program was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "system", refuse)
    (tmp_path / f"a.{suffix}").write_bytes(POSTSCRIPT)
    with pytest.raises(CaelabError, match="is no image that can be read: expected one of BMP, GIF, JPEG"):
        images(str(tmp_path))


OTHERS = ["EPS", "ICO", "TGA", "PCX", "SGI", "MSP", "XBM", "DDS", "ICNS", "JPEG2000", "SPIDER", "PDF", "QOI", "AVIF"]


@pytest.mark.parametrize("kind", OTHERS)
def test_formats_that_are_not_documented_are_refused_under_any_name(tmp_path, kind):
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {kind}")
    mode = {"MSP": "1", "XBM": "1", "SPIDER": "F"}.get(kind, "RGB")
    content = io.BytesIO()
    Image.new(mode, (16, 16)).save(content, format=kind)
    (tmp_path / "a.png").write_bytes(content.getvalue())
    with pytest.raises(CaelabError, match="is no image that can be read"):
        images(str(tmp_path))


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def tiny_tiff(width, height):
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 278: height, 279: 1}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(4)


CLAIMING = {  # small files whose headers claim so many pixels
    "png": lambda width, height: (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    ),
    "bmp": lambda width, height: (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    ),
    "gif": lambda width, height: (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0xF0, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHB", 0, 0, width, height, 0)
        + b"\x02\x01\x44\0;"
    ),
    "tif": tiny_tiff,
    "pgm": lambda width, height: f"P5 {width} {height} 255\n".encode(),
}


@pytest.mark.parametrize("suffix", CLAIMING)
def test_an_image_that_claims_too_many_pixels_is_refused(tmp_path, suffix):
    (tmp_path / f"a.{suffix}").write_bytes(CLAIMING[suffix](60_000, 60_000))
    with pytest.raises(CaelabError, match=rf"a\.{suffix} has more pixels than caelab reads of one image, \d+"):
        images(str(tmp_path))


@pytest.mark.parametrize("suffix", CLAIMING)
def test_an_image_that_memory_does_not_hold_is_refused_before_it_is_decoded(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 2**20)
    (tmp_path / f"a.{suffix}").write_bytes(CLAIMING[suffix](1000, 2000))
    with pytest.raises(CaelabError, match=r"1 picture of 2000 x 1000, would take 13\.\d+ MiB of memory, but 1 MiB are"):
        images(str(tmp_path))


def test_many_large_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 2**30)
    for name in range(100):
        (tmp_path / f"{name}.png").write_bytes(CLAIMING["png"](1000, 2000))
    with pytest.raises(CaelabError, match=r"100 pictures of 2000 x 1000, would take 1\.3\d+ GiB .* 1 GiB .* examples"):
        images(str(tmp_path))


def test_fewer_pictures_are_read_evenly_where_memory_holds_no_more(tmp_path, monkeypatch):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        save_pages(tmp_path / label / "stack.tif", np.stack([PAGES[0] // (i + 1) for i in range(5)]))
    everything = seen(tmp_path)
    monkeypatch.setattr(memory, "free_memory", lambda: 5 * PAGES[0].size * 7)
    with pytest.raises(CaelabError, match="examples"):
        images(str(tmp_path))
    samples = images(str(tmp_path), examples=5)
    assert samples.labels.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_array_equal(seen(tmp_path, examples=5), everything[[0, 2, 4, 6, 8]])
