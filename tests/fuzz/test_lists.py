"""List files: what is read is right, and everything else is refused."""

import gzip
import shutil

import torch
from hypothesis import given
from hypothesis import strategies as st

from dpq.protocols.listed.imagenet_layout import read_classes
from dpq.protocols.listed.lists import bits, column, column_or_one_hot, mapped, read_list
from dpq.protocols.listed.nuswide import find_ground_truth
from tests.fuzz.damage import damaged

FORMS = {
    "bits": (bits(3), 3),
    "column": (column(3), 3),
    "either": (column_or_one_hot(3), 3),
    "mapped": (mapped((7, 3), "7 and 3"), 2),
}
FIELDS = st.one_of(
    st.sampled_from(
        ["0", "1", "2", "7", "3", "-1", "1.0", "１", "", " ", "\t", "#", "..", "a/../b", "/a", "C:\\a", "\ufeff"]
    ),
    st.text(max_size=6),
    st.from_regex(r"[a-c]{1,2}(/[a-c]{1,2}){0,2}\.jpg", fullmatch=True),
)
LINES = st.lists(FIELDS, max_size=6).map(" ".join)
TEXTS = st.lists(LINES, max_size=6).map("\n".join).map(lambda text: text.encode("utf-8", "surrogatepass"))
VALID = b"# list\r\na/b c.jpg 0 1 0\n\nd.jpg 1 0 0\n"


@st.composite
def contents(draw, valid=VALID):
    content = draw(st.one_of(TEXTS, damaged(valid), st.binary(max_size=60)))
    if draw(st.integers(0, 3)):
        return content
    packed = gzip.compress(content, mtime=0)
    return draw(damaged(packed)) if draw(st.booleans()) else packed


def safe(path):
    return path and not path.startswith("/") and not {"", ".", ".."} & set(path.split("/")) and path.isprintable()


@given(
    content=contents(), form=st.sampled_from(sorted(FORMS)), prefix=st.sampled_from([None, "", "a", "/", "/a", ".."])
)
def test_lists(read, content, form, prefix):
    split, classes = FORMS[form]
    listed = read("list.txt", content, lambda path: read_list(path, split, strip_prefix=prefix))
    if listed is not None:
        assert len(listed) > 0
        assert listed.labels.dtype == torch.bool
        assert listed.labels.shape == (len(listed), classes)
        assert listed.paths == listed.files
        assert all(map(safe, listed.paths))
        if form != "bits":
            assert (listed.labels.sum(dim=1) == 1).all()


@given(
    rows=st.lists(
        st.tuples(
            st.from_regex(r"[a-z]+(/[a-z ]*[a-z])*\.jpg", fullmatch=True),
            st.lists(st.booleans(), min_size=3, max_size=3),
        ),
        min_size=1,
        max_size=5,
    ),
    end=st.sampled_from(["\n", "\r\n", "\n\n# note\n"]),
)
def test_lists_that_are_sound_are_read_as_they_stand(read, rows, end):
    text = end.join(f"{path} {' '.join(str(int(bit)) for bit in labels)}" for path, labels in rows)
    listed = read("list.txt", text.encode(), lambda path: read_list(path, bits(3)))
    assert listed.paths == tuple(path for path, _ in rows)
    assert listed.labels.tolist() == [labels for _, labels in rows]


@given(content=contents(b"0 n01440764 0\n1 n01443537 1\n2 n01484850 2\n"))
def test_tables_of_classes(read, content):
    wnids = read("classes.txt", content, read_classes)
    if wnids is not None:
        assert all(0 <= number < 1000 and wnid[0] == "n" and len(wnid) == 9 for number, wnid in wnids.items())
        assert len(set(wnids.values())) == len(wnids)


@given(images=contents(b"a\\0001_1.jpg\nb\\0002_2.jpg\n"), labels=contents(b"0\n1\n"))
def test_ground_truth(read, tmp_path_factory, images, labels):
    root = tmp_path_factory.getbasetemp() / "truth"

    def reader(path):
        (root / "Groundtruth/AllLabels").mkdir(parents=True, exist_ok=True)
        (root / "ImageList").mkdir(exist_ok=True)
        (root / "Groundtruth/AllLabels/Labels_sky.txt").write_bytes(labels)
        shutil.copyfile(path, root / "ImageList/Imagelist.txt")
        return find_ground_truth([root], ("sky",))

    truth = read("images.txt", images, reader)
    if truth is not None:
        assert truth.labels.shape == (len(truth.paths), 1)
        assert all(map(safe, truth.paths))
