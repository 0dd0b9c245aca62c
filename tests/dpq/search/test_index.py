import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from baselines.quantizers.pq import product_kmeans
from dpq import InputError, ProgressiveQuantizerEstimator
from dpq.codes.additive import decode, encode, residual_kmeans
from dpq.ranking.scores import asymmetric_scores
from dpq.search.file import Origin
from dpq.search.index import CodeIndex

QUERIES, IMAGES, DIM, LEVELS, SIZE, NEAREST = 1000, 1500, 24, 4, 16, 50
BITS = [4, 8, 12, 16]


def embeddings(count, seed):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, DIM, generator=random) * torch.arange(1.0, DIM + 1).rsqrt()


def learned(_):
    """Codebooks that are neither residual nor of sub-spaces, as training leaves them."""
    random = torch.Generator().manual_seed(5)
    return torch.randn(LEVELS, SIZE, DIM, generator=random) * torch.tensor([0.7, 0.5, 0.6, 0.4])[:, None, None]


KINDS = {
    "learned": learned,  # DPQ, DTQ
    "residual": lambda x: residual_kmeans(x, LEVELS, SIZE, 0),  # RQ
    "product": lambda x: product_kmeans(x, LEVELS, SIZE, 0),  # PQ, DQN
}


@pytest.fixture(scope="module", params=KINDS)
def coded(request):
    x = embeddings(IMAGES, 1)
    codebooks = KINDS[request.param](x)
    return encode(x, codebooks), codebooks


@pytest.fixture(scope="module")
def residual():
    x = embeddings(300, 1)
    codebooks = KINDS["residual"](x)
    return encode(x, codebooks), codebooks


@pytest.fixture
def index(residual):
    return CodeIndex(*residual, names=[f"{i % 3}/{i}.png" for i in range(300)])


def assert_our_ranking(found, queries, index):
    """Ids of the best scores: each found image has the score of our image at that rank, and none stands twice."""
    scores = asymmetric_scores(queries, index.codes, index.codebooks, index.score)
    of_found = scores.gather(1, torch.from_numpy(found.rows))
    assert (np.diff(np.sort(found.rows, axis=1)) > 0).all()
    np.testing.assert_allclose(of_found, scores.topk(found.rows.shape[1]).values, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.scores, of_found, rtol=1e-4, atol=1e-5)
    assert (np.diff(found.scores, axis=1) <= 0).all()
    assert np.array_equal(found.ids, index.ids[found.rows])


@pytest.mark.parametrize("score", ["inner", "l2"])
@pytest.mark.parametrize("bits", BITS)
def test_a_thousand_queries_find_our_ranking_at_every_length(coded, bits, score):
    queries = embeddings(QUERIES, 2)
    index = CodeIndex(*coded, score).prefix(bits)
    assert (index.bits, len(index)) == (bits, IMAGES)
    assert_our_ranking(index.search(queries, NEAREST), queries, index)


@pytest.mark.parametrize("score", ["inner", "l2"])
def test_an_inverted_file_finds_the_same_where_it_looks_at_all_lists(coded, score):
    queries = embeddings(200, 2)
    index = CodeIndex(*coded, score)
    exact = index.search(queries, 10).scores
    index.divide(12)
    for one in (index, index.prefix(8)):
        assert_our_ranking(one.search(queries, 10), queries, one)
    some = index.search(queries, 10, probes=3).scores
    assert (some <= exact + 1e-5).all()
    assert (some >= exact - 1e-5).mean() > 0.5
    assert_our_ranking(index.search(queries, 10, probes=12), queries, index)


def test_lists_that_hold_too_few_answers_leave_places_empty(residual):
    index = CodeIndex(*residual)
    index.divide(60)
    found = index.search(embeddings(5, 2), 200, probes=1)
    empty = found.rows < 0
    assert empty.any() and not empty[:, 0].any()
    assert (found.ids[empty] == -1).all() and np.isneginf(found.scores[empty]).all()
    assert (np.diff(empty.astype(int), axis=1) >= 0).all()


@pytest.mark.parametrize("lists", [0, 12])
def test_faiss_writes_and_reads_its_own_file(residual, tmp_path, lists):
    index = CodeIndex(*residual, "l2")
    if lists:
        index.divide(lists)
    faiss.write_index(index.faiss, str(tmp_path / "codes.faiss"))
    read = faiss.read_index(str(tmp_path / "codes.faiss"))
    queries = embeddings(9, 2).numpy()
    for mine, theirs in zip(index.faiss.search(queries, 10), read.search(queries, 10), strict=True):
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("lists", [0, 12])
def test_images_come_and_go(residual, lists):
    codes, codebooks = residual
    queries = embeddings(20, 2)
    index = CodeIndex(codes[:200], codebooks, ids=np.arange(200) * 10)
    if lists:
        index.divide(lists)
    index.search(queries)
    assert index.add(codes[200:250]).tolist() == list(range(1991, 2041))
    assert index.add(codes[250:], ids=np.arange(5, 505, 10)).tolist() == list(range(5, 505, 10))
    assert_our_ranking(index.search(queries, 30), queries, index)
    gone = index.search(queries, 1).ids.ravel()
    index.remove(np.unique(gone))
    assert not np.isin(gone, index.search(queries, len(index)).ids).any()
    assert_our_ranking(index.search(queries, 30), queries, index)
    index.remove(index.ids)
    assert index.search(queries).ids.shape == (20, 0)
    index.add(codes[:3])
    assert index.search(queries).ids.shape == (20, 3)


def test_names_stay_with_their_images(index):
    index.remove(index.ids_of(["1/1.png", "0/3.png"]))
    index.add(index.codes[:1], names=["new.png"])
    assert len(index.names) == len(index) == 299
    assert index.ids_of(["2/2.png", "new.png"]).tolist() == [2, 300]
    with pytest.raises(InputError, match=r"no image 1/1\.png"):
        index.ids_of(["1/1.png"])


@pytest.mark.parametrize("lists", [0, 12])
def test_a_file_holds_all_of_it(index, tmp_path, lists):
    if lists:
        index.divide(lists)
    index.score, index.origin = "l2", Origin("model", "a" * 64, "photos")
    index.remove([4])
    index.save(tmp_path / "i.index")
    index.save(tmp_path / "i.index")  # an index is replaced
    assert [path.name for path in tmp_path.iterdir()] == ["i.index"]
    read = CodeIndex.load(tmp_path / "i.index")
    assert torch.equal(read.codes, index.codes) and torch.equal(read.codebooks, index.codebooks)
    assert (read.names, read.origin, read.score) == (index.names, index.origin, "l2")
    queries = embeddings(20, 2)
    for probes in (None, 2) if lists else (None,):
        assert np.array_equal(read.search(queries, 10, probes).ids, index.search(queries, 10, probes).ids)


def test_damaged_files_are_refused(index, tmp_path):
    path = tmp_path / "i.index"
    index.save(path)
    content = path.read_bytes()
    for spoiled in (content[:-1], content[:-9] + b"x" + content[-8:], b"", b"no index at all"):
        path.write_bytes(spoiled)
        with pytest.raises(InputError, match=r"cannot be used as an index: .*; build it again"):
            CodeIndex.load(path)
    with pytest.raises(InputError, match="no index"):
        CodeIndex.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"codes": torch.full((300, LEVELS), 200, dtype=torch.uint8)}, "codes of 16 codewords are from 0 to 15"),
        ({"ids": torch.zeros(300, dtype=torch.int64)}, "id 0 stands for two images"),
        ({"ids": torch.arange(300) - 1}, "ids are from 0"),
        ({"names": torch.tensor([97, 0, 98], dtype=torch.uint8)}, "2 names of 300 images"),
        ({"codebooks": torch.full((LEVELS, SIZE, DIM), torch.nan)}, "must be finite"),
        ({"codebooks": torch.zeros(LEVELS, SIZE, DIM).double()}, "its codebooks are torch.float64"),
        ({"centroids": torch.zeros(3, DIM + 1)}, "centroids of lists are"),
    ],
)
def test_sound_files_of_unsound_values_are_refused(index, tmp_path, change, words):
    from dpq.files.checkpoint import read_checked, save_checkpoint

    path = tmp_path / "i.index"
    index.save(path)
    tensors, state = read_checked(path)
    save_checkpoint(path, tensors | change, state)
    with pytest.raises(InputError, match=words):
        CodeIndex.load(path)
    save_checkpoint(path, tensors, state | {"schema_version": 2})
    with pytest.raises(InputError, match="schema_version must be 1; got 2"):
        CodeIndex.load(path)


def test_other_files_are_not_overwritten(index, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"pixels")
    save_file({"weight": torch.ones(2)}, tmp_path / "w.safetensors")
    for path in (tmp_path / "photo.jpg", tmp_path / "w.safetensors", tmp_path):
        with pytest.raises(InputError, match="is no index"):
            index.save(path)
    assert load_file(tmp_path / "w.safetensors").keys() == {"weight"}


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda i: i.search(torch.zeros(2, 3)), "queries are finite numbers"),
        (lambda i: i.search(torch.full((2, DIM), torch.inf)), "queries are finite numbers"),
        (lambda i: i.search(torch.zeros(2, DIM), 0), "k must be at least 1"),
        (lambda i: i.search(torch.zeros(2, DIM), probes=1), "0 lists to look at; got 1"),
        (lambda i: i.prefix(6), "multiples of 4 bits"),
        (lambda i: i.prefix(20), "exceed the 16 bits"),
        (lambda i: i.divide(301), "can have 1 to 300 lists"),
        (lambda i: i.remove([7, 300]), "no image with the id 300"),
        (lambda i: i.add(i.codes[:1], ids=[5], names=["a"]), "id 5 stands for two"),
        (lambda i: i.add(i.codes[:1], ids=[0.5], names=["a"]), "ids are whole numbers; got float64"),
        (lambda i: i.add(i.codes[:1], ids=[600, 601], names=["a"]), "expected 1 ids"),
        (lambda i: i.add(i.codes[:1], ids=[True], names=["a"]), "ids are whole numbers; got bool"),
        (lambda i: i.add(i.codes[:1] / 2, names=["a"]), r"codes are whole numbers \[N, M\]; got torch.float32"),
        (lambda i: i.remove(i.ids >= 150), r"got bool \[300\]; of a mask, give index.ids\[mask\]"),
        (lambda i: i.remove([1.5]), "ids are whole numbers; got float64"),
        (lambda i: i.remove(np.array([2.0])), "ids are whole numbers; got float64"),
        (lambda i: i.remove(["1"]), "ids are <U1 in a str; give numbers"),
        (lambda i: i.remove([None]), "ids are object in a NoneType; give numbers"),
        (lambda i: i.remove([-1]), "ids are from 0 to"),
        (lambda i: i.remove(np.array([2**64 - 1], np.uint64)), "ids are from 0 to"),
        (lambda i: CodeIndex(i.codes, i.codebooks, ids=i.ids > 5), "ids are whole numbers; got bool"),
        (lambda i: CodeIndex(i.codes, i.codebooks, next_id=299), "the next id is from 300"),
        (lambda i: i.add(i.codes[:1]), "a name to every image"),
        (lambda i: i.add(i.codes[:1], names=["0/0.png"]), "stands for two images"),
        (lambda i: i.add(i.codes[:1], names=["a\0b"]), "rename the file"),
        (lambda i: i.add(i.codes[:1, :2], names=["a"]), "expected codes"),
        (lambda i: CodeIndex(i.codes % 12, i.codebooks[:, :12]), "power of two"),
        (lambda i: CodeIndex(i.codes, i.codebooks[0]), "expected codes"),
        (lambda i: CodeIndex(i.codes, i.codebooks, "cosine"), "score must be"),
    ],
)
def test_mistakes_are_named_and_change_nothing(index, act, words):
    with pytest.raises(InputError, match=words):
        act(index)
    assert len(index) == len(index.ids) == len(index.names) == 300


def test_exact_answers_need_no_faiss_and_lists_say_what_to_install(index, monkeypatch):
    index.divide(3)
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert index.search(torch.zeros(1, DIM)).ids.tolist() == [list(range(10))]
    with pytest.raises(InputError, match=r"pip install 'dpq\[search\]'"):
        index.search(torch.zeros(1, DIM), probes=1)


def test_scores_are_those_of_reconstructions(index):
    queries = embeddings(3, 2)
    found = index.search(queries, 5)
    expected = (queries[:, None] * decode(index.codes, index.codebooks)[found.rows]).sum(dim=2)
    np.testing.assert_allclose(found.scores, expected, rtol=1e-4, atol=1e-5)


STEPS = st.lists(st.tuples(st.sampled_from(["add", "own", "remove", "file"]), st.integers(0, 3)), max_size=12)


@settings(max_examples=50, deadline=None)
@given(steps=STEPS)
def test_no_id_is_given_twice_in_the_life_of_a_file(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("life") / "i.index"
    codes, codebooks = np.zeros((4, 2), np.uint8), np.zeros((2, 4, 3), np.float32)
    index, here, ever = CodeIndex(codes, codebooks), [0, 1, 2, 3], {0, 1, 2, 3}
    for step, number in steps:
        if step == "add" or step == "own":
            own = None if step == "add" else [max(ever) + 5 * (i + 1) for i in range(number)]
            new = index.add(codes[:number], ids=own).tolist()
            assert len(new) == number and ever.isdisjoint(new)
            here, ever = here + new, ever | set(new)
        elif step == "remove" and len(here) > 1:
            gone = here[-1 - number :][: len(here) - 1] if number else here[:1]  # often those with the largest ids
            index.remove(gone)
            here = [one for one in here if one not in gone]
        elif step == "file":
            index.save(path)
            index = CodeIndex.load(path)
        assert index.ids.tolist() == here
        for again in ever.difference(here):
            with pytest.raises(InputError, match=f"id {again} was of an image that was removed"):
                index.add(codes[:1], ids=[again])


def test_files_without_the_next_id_count_on_from_their_largest(index, tmp_path):
    from dpq.files.checkpoint import read_checked, save_checkpoint

    path = tmp_path / "i.index"
    index.remove([299, 298])
    index.save(path)
    tensors, state = read_checked(path)
    tensors = {name: tensor for name, tensor in tensors.items() if name != "removed"}
    for next_id, expected in ((state["next_id"], 300), (1 << 62, 1 << 62), (None, 298)):
        save_checkpoint(path, tensors, state | {"next_id": next_id})
        assert CodeIndex.load(path).next_id == expected
    save_checkpoint(path, tensors, {name: value for name, value in state.items() if name != "next_id"})
    assert CodeIndex.load(path).add(index.codes[:1], names=["new"]).tolist() == [298]
    for wrong in (-1, 297, 1.5, (1 << 62) + 1):
        save_checkpoint(path, tensors, state | {"next_id": wrong})
        with pytest.raises(InputError, match=r"next.id"):
            CodeIndex.load(path)


def test_ids_below_the_largest_that_were_never_given_are_free(index, tmp_path):
    index.remove([5, 299])
    index.save(tmp_path / "i.index")
    for one in (index, CodeIndex.load(tmp_path / "i.index"), index.prefix(8)):
        assert one.removed.tolist() == [5, 299]
        with pytest.raises(InputError, match="id 5 was of an image"):
            one.add(one.codes[:2], ids=[400, 5], names=["new", "old"])
        assert one.add(one.codes[:1], ids=[1000], names=["new"]).tolist() == [1000]
    codes, codebooks = index.codes[:2], index.codebooks
    assert CodeIndex(codes, codebooks, ids=[1, 9], removed=[4, 2]).add(codes[:1], ids=[3]).tolist() == [3]
    assert CodeIndex(codes, codebooks, removed=[7]).next_id == 8
    with pytest.raises(InputError, match="id 1 was of an image"):
        CodeIndex(codes, codebooks, removed=[1])
    with pytest.raises(InputError, match="the next id is from 8"):
        CodeIndex(codes, codebooks, removed=[7], next_id=7)


@pytest.mark.parametrize("names", ["ab", ["a", 1], ["a", None], 5, b"ab", None, [["a"], ["b"]]])
def test_names_are_texts_and_not_one_text(index, names):
    for act in (
        lambda: CodeIndex(index.codes[:2], index.codebooks, names=names),
        lambda: index.add(index.codes[:2], names=names),
        lambda: index.ids_of(names),
    ):
        with pytest.raises(InputError, match="names are a list of texts"):
            act()


def test_names_of_a_table(index):
    for names in (np.array(["a", "b"]), pd.Series(["a", "b"])):
        assert CodeIndex(index.codes[:2], index.codebooks, names=names).ids_of(names).tolist() == [0, 1]


def test_codebooks_that_train_are_taken_without_their_gradient(index):
    codebooks = index.codebooks.clone().requires_grad_()
    assert CodeIndex(index.codes, codebooks).search(embeddings(3, 2), 5).ids.shape == (3, 5)


def test_a_prefix_gives_the_ids_of_the_whole(index):
    index.remove([299])
    assert index.prefix(8).add(index.codes[:1, :2], names=["new"]).tolist() == [300]


@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, lambda array: array[:, ::-1][:, ::-1]])
def test_arrays_of_the_estimator_are_taken(form):
    x = embeddings(100, 1).numpy()
    quantizer = ProgressiveQuantizerEstimator(levels=2, codebook_size=16, random_state=0).fit(x)
    codes, codebooks = form(quantizer.transform(x)), form(quantizer.codebooks_)
    codes.flags.writeable = False
    index = CodeIndex(codes, codebooks)
    index.add(codes[:5])
    assert len(index) == 105 and torch.equal(index.codebooks, torch.from_numpy(quantizer.codebooks_))


def answers(index, probes=None):
    found = index.search(embeddings(20, 2), 10, probes)
    return found.ids.tolist(), found.scores.tolist()


def test_what_an_index_was_given_may_be_used_for_something_else(residual, tmp_path):
    codes, codebooks = (values.clone() for values in residual)
    ids, centroids, names = np.arange(300) + 7, codebooks[0].clone(), [f"{i}" for i in range(300)]
    index = CodeIndex(codes, codebooks.requires_grad_(), ids=ids, names=names, centroids=centroids)
    before = answers(CodeIndex(*residual, ids=ids))
    more = residual[0][:5].clone()
    index.add(more, names=list("abcde"))
    index.remove(range(307, 312))
    with torch.no_grad():
        for values in (codes, codebooks, centroids, more):
            values.zero_()
    ids[:], names[:] = 0, ["x"] * 300
    assert answers(index) == before
    index.save(tmp_path / "i")
    assert answers(CodeIndex.load(tmp_path / "i")) == before
    arrays = [values.numpy().copy() for values in residual]
    index = CodeIndex(*arrays, ids=range(7, 307))
    for values in arrays:
        values[:] = 0
    assert answers(index) == before


@pytest.mark.parametrize("lists", [0, 3])
def test_what_an_index_gives_may_be_written_to_or_cannot(index, lists):
    if lists:
        index.divide(lists)
    before, found = answers(index), index.search(embeddings(20, 2), 10)
    for values in (found.ids, found.rows, found.scores, index.ids_of(index.names), index.codes, index.codebooks):
        values[:] = 0
    new = index.add(index.codes[:1], names=["new"])
    new[:] = 0
    index.remove(index.ids_of(["new"]))
    for values in [index.ids, index.prefix(8).ids] + ([index.centroids] if lists else []):
        with pytest.raises(ValueError, match="read-only"):
            values[:] = 0
    index.faiss.reset()
    assert answers(index) == before


def test_codes_of_a_file_stay_there_until_they_are_needed(index, tmp_path):
    path = tmp_path / "one.index"
    index.save(path)
    read = CodeIndex.load(path)
    before = answers(read)
    if sys.platform == "linux":
        assert str(path) in Path("/proc/self/maps").read_text()
    index.remove(index.ids[:200])
    index.save(path)  # another file under this name
    assert answers(read) == answers(read.prefix(16)) == before


@pytest.mark.parametrize("score", ["inner", "l2"])
@pytest.mark.parametrize("lists", [0, 3])
def test_an_index_without_images(residual, tmp_path, score, lists):
    codes, codebooks = residual
    index = CodeIndex(codes, codebooks, score, names=[f"{i}" for i in range(300)])
    if lists:
        index.divide(lists)
    index.remove(index.ids)
    begun = CodeIndex(codes[:0], codebooks, score)
    for empty, first in ((index, 300), (begun, 0)):
        empty.save(tmp_path / "none")
        for none in (empty, CodeIndex.load(tmp_path / "none"), CodeIndex.load(tmp_path / "none").prefix(4)):
            assert len(none) == len(none.names) == none.faiss.ntotal == 0
            assert none.search(embeddings(2, 2)).ids.shape == (2, 0)
        with pytest.raises(InputError, match="add images first"):
            empty.divide(1)
        read = CodeIndex.load(tmp_path / "none")
        assert read.add(codes[:3], names=list("abc")).tolist() == [first, first + 1, first + 2]
        assert len(set(read.search(embeddings(1, 2)).ids[0].tolist())) == 3


def test_threads_that_look_at_different_numbers_of_lists(index):
    index.divide(12)
    alone = {probes: answers(index, probes) for probes in (1, 2, 5, None)}
    with ThreadPoolExecutor(8) as threads:
        asked = list(alone) * 40
        for probes, found in zip(asked, threads.map(lambda probes: answers(index, probes), asked), strict=True):
            assert found == alone[probes]


def test_threads_may_add_while_others_search(residual):
    codes, codebooks = residual
    index = CodeIndex(codes, codebooks)
    before = index.search(codebooks[0], 1).scores.min()

    def change(number):
        new = index.add(codes[number : number + 1])
        found = index.search(codebooks[0], 5)
        index.remove(new)
        return found.scores.min() > -np.inf and (found.scores[:, 0] >= before).all()

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(change, range(100)))
    assert index.ids.tolist() == list(range(300))
