"""Archives of images, and the images in them."""

import gzip
import io
import lzma
import tarfile
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dpq.protocols.archives import Bounds, is_image, leaves_root, tar_files
from dpq.protocols.image_tree import read_image_tree
from dpq.protocols.store import decoding
from dpq.protocols.store.decoding import FORMATS, decode_file
from tests.fuzz.damage import damaged

BOUNDS = Bounds(total=1 << 18, file=1 << 12, members=20)
TYPES = [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE]
TYPES += [tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE, b"?"]
PACKERS = [
    lambda content: content,
    lambda content: gzip.compress(content, 1, mtime=0),
    lambda c: lzma.compress(c, preset=0),
]


def encoded(file_format):
    stream = io.BytesIO()
    pixels = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    Image.fromarray(pixels).save(stream, format=file_format)
    return stream.getvalue()


IMAGES = {file_format: encoded(file_format) for file_format in FORMATS}
NAMES = st.one_of(
    st.from_regex(r"(\./)?(train|test)/[ab]/[0-3]\.(png|jpg|txt)", fullmatch=True),
    st.sampled_from(
        ["/train/a/0.png", "../a/0.png", "train/../0.png", "train/a/" + "x" * 300 + ".png", "train/a/\udc80.png"]
    ),
    st.text(st.characters(codec="utf-8"), max_size=20),
)


@st.composite
def members(draw):
    info = tarfile.TarInfo(draw(NAMES))
    content = draw(st.one_of(st.sampled_from(list(IMAGES.values())), st.binary(max_size=40)))
    info.size = len(content)
    info.type = draw(st.one_of(st.just(tarfile.REGTYPE), st.just(tarfile.REGTYPE), st.sampled_from(TYPES)))
    info.linkname = draw(st.sampled_from(["", "train/a/0.png", "/etc/passwd", "y" * 150]))
    if draw(st.integers(0, 4)) == 0:
        odd = st.sampled_from(["", "0", "-1", "1e999", "x", "9" * 30, "0,1", "../x", "train/a/2.png"])
        keys = [
            "path",
            "size",
            "mtime",
            "GNU.sparse.major",
            "GNU.sparse.minor",
            "GNU.sparse.map",
            "GNU.sparse.size",
            "k",
        ]
        info.pax_headers = draw(st.dictionaries(st.sampled_from(keys), odd, max_size=3))
    return info, content


@st.composite
def archives(draw):
    stream = io.BytesIO()
    file_format = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    with tarfile.open(fileobj=stream, mode="w", format=file_format, errors="surrogateescape") as archive:
        for info, content in draw(st.lists(members(), max_size=4)):
            archive.addfile(info, io.BytesIO(content))
    content = stream.getvalue()
    content = content[: len(content.rstrip(b"\0")) // 512 * 512 + 1536]  # short, so that damage hits something
    if draw(st.booleans()):
        content = draw(
            damaged(content, (b"\0" * 12, b"\x80" + b"\xff" * 11, b"\xff" * 12, b"77777777777", b"x", b"L", b"0"))
        )
        content = _summed(content) if draw(st.booleans()) else content
    packed = draw(st.sampled_from(PACKERS))(content)
    return packed if draw(st.integers(0, 3)) else draw(damaged(packed))


def _summed(content):
    """The check sums of all headers made right, where headers would be."""
    blocks = [content[at : at + 512] for at in range(0, len(content), 512)]
    for number, block in enumerate(blocks):
        if len(block) == 512 and block[257:262] == b"ustar":
            total = sum(block[:148]) + 8 * 32 + sum(block[156:])
            blocks[number] = block[:148] + b"%06o\0 " % total + block[156:]
    return b"".join(blocks)


@given(content=archives())
def test_members_of_a_tar(read, content):
    files = read("images.tar", content, lambda path: list(tar_files(path, BOUNDS)))
    if files is not None:
        names = [name for name, _ in files]
        assert len(set(names)) == len(names) <= BOUNDS.members
        assert all(is_image(name) and not leaves_root(name) for name in names)
        assert all(len(content) <= BOUNDS.file for _, content in files)


@given(content=archives())
def test_images_of_a_tar(read, tmp_path_factory, content):
    cache = tmp_path_factory.getbasetemp() / "cache"
    tree = read("images.tar", content, lambda path: read_image_tree(path, (6, 5), cache, BOUNDS))
    left = list(cache.glob("*"))
    for file in left:
        file.unlink()
    assert {file.suffix for file in left} - {".lock"} == (set() if tree is None else {".json", ".pixels"})
    if tree is not None:
        assert tree.images.dtype == np.uint8
        assert tree.images.shape == (len(tree.names), 3, 6, 5)


@pytest.mark.parametrize("file_format", FORMATS)
@given(data=st.data(), side=st.sampled_from([None, 4]))
def test_single_images(read, file_format, data, side):
    content = data.draw(
        damaged(IMAGES[file_format], (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xd8"))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "MOST_PIXELS", 100_000)  # that many are decoded fast
        decoded = read("image", content, lambda path: decode_file(path.parent, path.name, side, nullcontext()))
    assert decoded.pixels.shape == ((0,) if side is None else (3, side, side))
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.problem is None) == (decoded.file_digest is not None)
    assert decoded.problem is None or len(decoded.problem.splitlines()) == 1
