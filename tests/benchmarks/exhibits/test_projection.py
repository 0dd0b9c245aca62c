import numpy as np
import pytest
from sklearn import manifold

from benchmarks.exhibits import projection
from benchmarks.exhibits.projection import fitted, project, project_lengths
from benchmarks.exhibits.store import write_exhibit
from benchmarks.records.raw import RawResult
from benchmarks.records.store import as_record
from dpq import InputError
from dpq.seeds import derive_seed
from tests.benchmarks.conftest import make_record
from tests.benchmarks.exhibits.conftest import BITS, coded, dataset_of, seeded


def same_points(projected):
    return [entry.points for entry in projected.lengths]


@pytest.fixture
def plain(monkeypatch):
    """Show the first two dimensions instead of t-SNE's; returns what was to be projected."""
    seen = []

    def project(x, perplexity):
        seen.append(x)
        return x[:, :2].astype(np.float64)

    monkeypatch.setattr(projection, "project", project)
    return seen


def test_points_are_of_the_reconstructions_of_one_sample(plain):
    record, raw = coded()
    projected = project_lengths(record, raw, dataset_of(raw))
    first = [list(row).index(True) if row.any() else -1 for row in raw.database_labels]
    drawn = [i for i in seeded(derive_seed(0, "projection"), range(len(first))) if first[i] >= 0]
    drawn = sorted(drawn, key=lambda i: [j for j in drawn if first[j] == first[i]].index(i))
    assert projected.labels == tuple(first[i] for i in drawn)
    assert projected.sampled == len(drawn) == sum(c >= 0 for c in first)
    assert projected.classes == ("cat", "dog", "owl", "yak")
    assert (projected.method, projected.seed) == ("t-SNE", 0)
    assert [entry.bits for entry in projected.lengths] == list(BITS)
    for levels, (entry, x) in enumerate(zip(projected.lengths, plain, strict=True), 1):
        rebuilt = sum(raw.codebooks[m][raw.codes[drawn, m]] for m in range(levels))
        assert np.array_equal(x, rebuilt)
        assert np.allclose(entry.points, fitted(rebuilt[:, :2].astype(float)), atol=0.005 + 1e-9)


def test_a_thousand_points_at_four_lengths_are_a_small_file(plain, tmp_path):
    random = np.random.default_rng(0)
    labels = np.eye(10, dtype=bool)[random.integers(10, size=5000)]
    raw = RawResult(
        random.integers(0, 256, (5000, 4)).astype(np.uint8),
        random.normal(size=(4, 256, 8)).astype(np.float32),
        random.normal(size=(20, 8)).astype(np.float32),
        labels[:20],
        labels,
    )
    record = as_record(make_record(bits=(8, 16, 24, 32), maps=(0.5,) * 4))
    projected = project_lengths(record, raw, dataset_of(raw))
    assert projected.sampled == 1000
    assert set(np.bincount(projected.labels)) == {100}
    assert projected.perplexity == 30
    write_exhibit(tmp_path / "p.json", projected)
    assert (tmp_path / "p.json").stat().st_size < 80_000
    coordinates = np.array(same_points(projected))
    assert coordinates.min() == -10
    assert coordinates.max() == 10
    text = (tmp_path / "p.json").read_text()
    assert "-0.0," not in text
    assert "-0.0]" not in text


def test_tsne_is_seeded_and_looks_at_fewer_neighbours_of_few_images(monkeypatch):
    asked = []

    class Recorded(manifold.TSNE):
        def __init__(self, **settings):
            asked.append(settings)
            super().__init__(**settings)

    monkeypatch.setattr(manifold, "TSNE", Recorded)
    record, raw = coded(items=90)
    projected = project_lengths(record, raw, dataset_of(raw))
    expected = (projected.sampled - 1) // 3
    assert 1 < expected == projected.perplexity < 30
    assert asked == [{"init": "pca", "perplexity": expected, "random_state": derive_seed(0, "projection")}] * 3


@pytest.mark.parametrize("copies", [1, 40])
def test_clusters_stay_apart_also_of_equal_rows(copies):
    random = np.random.default_rng(0)
    centres = 20 * np.eye(4, 6)
    distinct = np.concatenate([centre + random.normal(size=(80 // copies, 6)) for centre in centres])
    cluster = np.repeat(np.arange(4), 80)
    points = fitted(project(np.repeat(distinct, copies, axis=0).astype(np.float32), 30))
    assert np.isfinite(points).all()
    means = np.array([points[cluster == c].mean(axis=0) for c in range(4)])
    nearest = np.linalg.norm(points[:, None] - means, axis=2).argmin(axis=1)
    assert (nearest == cluster).mean() > 0.95


def test_images_of_one_code_lie_on_one_point():
    record, raw = coded()
    raw.codes[:, 0] = 2
    one, two, _ = same_points(project_lengths(record, raw, dataset_of(raw)))
    assert {tuple(point) for point in one} == {(0.0, 0.0)}
    assert len({tuple(point) for point in two}) > 1


@pytest.mark.parametrize("items", [2, 3, 4, 5])
def test_a_handful_of_images_can_be_shown(items):
    random = np.random.default_rng(0)
    assert np.isfinite(project(random.normal(size=(items, 6)).astype(np.float32), max(1, (items - 1) // 3))).all()


def test_fewer_than_two_images_are_refused():
    record, raw = coded()
    raw.database_labels[1:] = False
    with pytest.raises(InputError, match="needs two database images with a label"):
        project_lengths(record, raw, dataset_of(raw))


def test_points_are_fitted_into_a_square_without_distortion():
    points = np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 6.0]])
    assert fitted(points).tolist() == [[-10, -5], [10, -5], [0, 5]]
