"""Folders of one's own images: nothing that lies in them is lost, whatever they hold."""

import os
import shutil
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from dpq import InputError
from dpq.inputs.images import list_images
from dpq.protocols import ReadOptions
from dpq.protocols.folder.layout import find_images, find_training_images
from dpq.protocols.folder.manifest import read_manifest
from tests.fuzz.damage import damaged

FIELDS = st.one_of(
    st.sampled_from(
        [
            "#1.jpg",
            "#",
            "a/#b.jpg",
            "../a.jpg",
            "/a.jpg",
            "C:\\a.jpg",
            "train",
            "query|database",
            "ant|bee",
            "",
            " ",
            '"',
        ]
    ),
    st.from_regex(r"#?[a-c]{1,2}(/#?[a-c]{1,2}){0,2}\.jpg", fullmatch=True),
    st.text(max_size=5),
)
LINES = st.one_of(
    st.lists(FIELDS, min_size=1, max_size=4).map(",".join),
    st.from_regex(r"#?[a-d]{1,2}(/#?[a-d])?\.jpg,(ant|bee|Bär)(\|cow)?,(train|query|database)", fullmatch=True),
)
HEADERS = st.sampled_from(["path,labels,split", "split,path,labels,note", "\ufeffPath, Labels,SPLIT", "path,labels"])
TEXTS = st.tuples(HEADERS, st.lists(LINES, max_size=5)).map(lambda text: "\n".join([text[0], *text[1]]))
VALID = b"path,labels,split\n# a comment\na/b.jpg,ant,train\n\n#c.jpg,bee|ant,query|database\r\n"


@given(content=st.one_of(TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")), damaged(VALID)))
def test_manifests(read, tmp_path_factory, content):
    root = tmp_path_factory.getbasetemp() / "listed"
    root.mkdir(exist_ok=True)

    def reader(path):
        shutil.copyfile(path, root / "manifest.csv")
        return read_manifest(root)

    entries = read("list.csv", content, reader)
    if entries is None:
        return
    lines = [line.strip() for line in content.decode("utf-8-sig").split("\n")]
    images = [line for line in lines if line and not (line.startswith("#") and "," not in line)][1:]
    assert len(entries) == len(images) > 0
    assert len({entry.path for entry in entries}) == len(entries)
    for entry in entries:
        assert not entry.path.startswith("/") and not {"", ".", ".."} & set(entry.path.split("/"))
        assert entry.labels and all(unicodedata.is_normalized("NFC", label) for label in entry.labels)
        assert entry.splits and set(entry.splits) <= {"train", "query", "database"}


NAMES = st.sampled_from(
    ["a", "b", "train", "query", "database", "1.jpg", "2.PNG", "3.jfif", "4.gif", "x.txt", ".h", ".h.jpg"]
)
FILES = st.sampled_from(["1.jpg", "2.PNG", "3.jfif", "4.gif", "x.txt", ".h.jpg"])
# What is at each path: a file, or a link to one of the folders, to a file beside the root, to itself or to nowhere.
KINDS = st.sampled_from(["folder", "a", "b", "train", ".", "out", "nowhere", "itself"])
SOUND = st.sampled_from(
    [
        {},
        dict.fromkeys(["a/1.jpg", "b/2.PNG"], "file"),
        dict.fromkeys(["train/a/1.jpg", "train/b/1.jpg", "query/a/1.jpg", "database/b/2.PNG"], "file"),
    ]
)
MORE = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "train/a", "query/b"]), FILES).map("/".join), st.just("file")
)
ODD = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.one_of(st.just("file"), KINDS), max_size=2
)
PLACES = st.tuples(SOUND, MORE, ODD).map(lambda parts: parts[0] | parts[1] | parts[2])


def build(root, places):
    """Make a tree as far as its paths go together."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    (root.parent / "out.jpg").touch()
    for name, what in sorted(places.items()):
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if what == "file":
                path.touch()
            elif what == "folder":
                path.mkdir()
            else:
                path.symlink_to({"out": root.parent / "out.jpg", "itself": path, ".": root}.get(what, root / what))
        except OSError:  # there is something else, or a link in a loop
            continue


def visible(root):
    """Relative paths of all images that links lead to or not, found by another way; None in a loop."""
    found = []
    for place, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if os.path.realpath(place) != os.path.realpath(root) and place.count("/") > str(root).count("/") + 8:
            return None
        found += [os.path.relpath(os.path.join(place, name), root) for name in files if not name.startswith(".")]
    return sorted(name for name in found if name.lower().endswith((".jpg", ".png", ".jfif")))


def answer(reader, root):
    try:
        return reader(root)
    except InputError as error:
        assert str(error).strip() and len(str(error).splitlines()) == 1
        return None


@given(places=PLACES)
def test_trees(tmp_path_factory, places):
    root = tmp_path_factory.getbasetemp() / "tree"
    build(root, places)
    listed = answer(list_images, root)
    there = visible(root)
    if listed is not None:
        assert sorted(path.relative_to(root).as_posix() for path in listed) == there
    own = answer(lambda root: find_images(root, ReadOptions()), root)
    if own is not None:
        depth = 1 + (own.layout == "splits")
        assert sorted(own.files) == [name for name in there if name.count("/") == depth]
        assert {name for name in there if name.count("/") != depth} <= set(own.passed_over)
        assert own.labels.any(dim=1).all() and own.labels.any(dim=0).all()
    trained = answer(find_training_images, root)
    if trained is not None:
        assert set(trained.files) == {
            name for name in own.files if own.layout == "classes" or name.startswith("train/")
        }
        assert trained.labels.any(dim=0).all()
