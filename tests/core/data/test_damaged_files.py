"""Sound files of every format with bytes flipped, cut, added and zeroed: they are read, or refused in one sentence."""

import gzip
import io
import struct
import tarfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from caelab.data import load_dataset
from caelab.data.cifar import BATCHES, read_records
from caelab.errors import CaelabError
from caelab.runs.config import load_config
from caelab.runs.recipes import recipe_config

DAMAGE = st.one_of(
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True), st.just(0)),
    st.tuples(st.just("add"), st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
    st.tuples(st.just("zero"), st.floats(0, 1, exclude_max=True), st.integers(1, 40)),
)


def damaged(content, damage):
    out = bytearray(content)
    for kind, share, value in damage:
        place = int(share * len(out))
        if kind == "flip" and out:
            out[place] ^= value
        elif kind == "cut":
            del out[place:]
        elif kind == "add":
            out[place:place] = bytes([value]) * 3
        elif kind == "zero":
            out[place : place + value] = bytes(len(out[place : place + value]))
    return bytes(out)


def arrays_of(save):
    content = io.BytesIO()
    rng = np.random.default_rng(1)
    save(content, rng.integers(0, 256, (12, 4, 3), dtype=np.uint8), np.arange(12))
    return content.getvalue()


def picture(suffix, pages=1, mode="RGB"):
    rng = np.random.default_rng(1)
    first, *others = [Image.fromarray(page).convert(mode) for page in rng.integers(0, 256, (pages, 9, 7, 3), np.uint8)]
    exif = Image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    options = {"save_all": True, "append_images": others} if others else {}
    first.save(content, suffix, **options, **({} if suffix in ("GIF", "BMP", "PPM") else {"exif": exif}))
    return content.getvalue()


def idx_of(shape):
    values = np.random.default_rng(1).integers(0, 10, shape).astype(np.uint8)
    return bytes([0, 0, 8, len(shape)]) + b"".join(struct.pack(">I", size) for size in shape) + values.tobytes()


def cifar():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in BATCHES:
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = 3073
            tar.addfile(member, io.BytesIO(bytes(3073)))
    return content.getvalue()


def _images(folder, content):
    (folder / "a.png").write_bytes(content)
    load_dataset(f"images:{folder}", splits=(1, 1, 1))


def _one_file(kind):
    def load(folder, content):
        (folder / "x").write_bytes(content)
        load_dataset(f"{kind}:{folder / 'x'}")

    return load


def _idx(folder, content):
    (folder / "train-images-idx3-ubyte").write_bytes(content)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_of((12,)))
    load_dataset(f"idx:{folder}")


def _tar(folder, content):
    (folder / "x.tar.gz").write_bytes(content)
    read_records(folder / "x.tar.gz")


def _config(folder, content):
    (folder / "x.yaml").write_bytes(content)
    load_config(folder / "x.yaml")


TABLE = "label,a,b\n" + "".join(f"{place % 3},{place / 7},{-place}\n" for place in range(30))
SOUND = {
    "npy": (_one_file("npy"), arrays_of(lambda file, x, y: np.save(file, x))),
    "npy by columns": (_one_file("npy"), arrays_of(lambda file, x, y: np.save(file, np.asfortranarray(x / 7)))),
    "npz": (_one_file("npz"), arrays_of(lambda file, x, y: np.savez(file, x=x, y=y))),
    "npz, packed": (_one_file("npz"), arrays_of(lambda file, x, y: np.savez_compressed(file, x=x, y=y))),
    "csv": (_one_file("csv"), TABLE.encode()),
    "idx": (_idx, idx_of((12, 4, 3))),
    "idx, packed": (_idx, gzip.compress(idx_of((12, 4, 3)))),
    "cifar": (_tar, cifar()),
    "yaml": (_config, recipe_config("cae").to_yaml().encode()),
    "png": (_images, picture("PNG")),
    "png, palette": (_images, picture("PNG", mode="P")),
    "png, transparent": (_images, picture("PNG", mode="LA")),
    "png, animated": (_images, picture("PNG", pages=3)),
    "jpeg": (_images, picture("JPEG")),
    "jpeg, cmyk": (_images, picture("JPEG", mode="CMYK")),
    "gif": (_images, picture("GIF", mode="L")),
    "gif, animated": (_images, picture("GIF", pages=3)),
    "tiff": (_images, picture("TIFF")),
    "tiff, grey": (_images, picture("TIFF", mode="L")),
    "tiff, pages": (_images, picture("TIFF", pages=3)),
    "bmp": (_images, picture("BMP")),
    "ppm": (_images, picture("PPM")),
    "webp": (_images, picture("WEBP")),
    "webp, animated": (_images, picture("WEBP", pages=3)),
}


@pytest.mark.parametrize("name", SOUND)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=15,
    derandomize=True,
)
@given(damage=st.lists(DAMAGE, min_size=1, max_size=3))
@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it mends
def test_a_damaged_file_is_read_or_refused_in_one_sentence(name, damage, tmp_path):
    load, content = SOUND[name]
    message = "read"
    try:
        load(tmp_path, damaged(content, damage))
    except CaelabError as error:
        message = str(error)
    assert message
    assert "\n" not in message
    assert "the loader of data set" not in message  # what no reader foresaw


@pytest.mark.parametrize("name", SOUND)
def test_the_file_is_read_while_it_is_sound(name, tmp_path):
    load, content = SOUND[name]
    if name.startswith(("png", "jpeg", "gif", "tiff", "bmp", "ppm", "webp")):
        for copy in "bc":
            (tmp_path / f"{copy}.png").write_bytes(content)  # three examples are needed to split
    load(tmp_path, content)


@pytest.mark.parametrize("name", SOUND)
def test_an_empty_file_and_one_of_another_format_are_refused(name, tmp_path):
    load, _ = SOUND[name]
    for content in (b"", b"\0", b"\0" * 100, b"\xff" * 100, b"hello, world\n", b"%PDF-1.4", b"\x80\x04N."):
        with pytest.raises(CaelabError) as caught:
            load(tmp_path, content)
        assert "\n" not in str(caught.value)
        assert "the loader of data set" not in str(caught.value)
