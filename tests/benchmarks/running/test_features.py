import pytest
import torch

from benchmarks.running.features import StoredSource
from dpq import InputError
from dpq.files.checkpoint import save_checkpoint
from dpq.learning.settings import Preprocessing


class Counting:
    """Predicts the mean colour, and counts how often."""

    preprocessing = Preprocessing()

    def __init__(self):
        self.calls = 0

    def predict(self, images, *, views=None, crop_seed=0, progress=False):
        self.calls += 1
        embeddings = images.float().mean(dim=(2, 3)) + (views == "mirror") + 10 * crop_seed
        return embeddings, embeddings[:, :0]


@pytest.fixture
def images():
    return torch.randint(0, 256, (5, 3, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_predictions_are_computed_once_and_read_by_others(images, tmp_path):
    source = Counting()
    first = StoredSource(source, tmp_path).predict(images)
    store = StoredSource(source, tmp_path)
    again = store.predict(images)
    assert source.calls == 1
    assert torch.equal(first[0], again[0])
    assert again[1].shape == (5, 0)
    assert store.spared != 0


def test_other_images_views_and_folders_are_other_predictions(images, tmp_path):
    source = Counting()
    store = StoredSource(source, tmp_path)
    plain = store.predict(images)[0]
    assert not torch.equal(store.predict(images, views="mirror")[0], plain)
    assert not torch.equal(store.predict(images.flip(0))[0], plain)
    assert not torch.equal(store.predict(images.reshape(5, 3, 2, 8)[:, :, :, :4])[0], plain)
    StoredSource(source, tmp_path / "other").predict(images)
    assert source.calls == 5


def test_crops_of_each_seed_are_predictions_of_their_own(images, tmp_path):
    source = Counting()
    store = StoredSource(source, tmp_path)
    plain = store.predict(images, views="centre")[0]
    drawn = [store.predict(images, views="centre", crop_seed=seed)[0] for seed in (1, 2, 1, 2)]
    assert [torch.equal(one, plain + 10 * seed) for one, seed in zip(drawn, (1, 2, 1, 2), strict=True)] == 4 * [True]
    assert source.calls == 3


def test_training_waits_for_the_first_prediction_that_is_not_stored(images, tmp_path):
    trained = []
    StoredSource(Counting(), tmp_path).predict(images)
    store = StoredSource(Counting(), tmp_path, lambda: trained.append(True))
    store.predict(images)
    assert trained == []
    store.predict(images[:2])
    store.predict(images[:3])
    assert trained == [True]


@pytest.mark.parametrize(
    ("tensors", "state"),
    [
        ({"embeddings": torch.zeros(4, 3), "logits": torch.zeros(5, 0)}, {"seconds": 1.0}),
        ({"embeddings": torch.zeros(5), "logits": torch.zeros(5, 0)}, {"seconds": 1.0}),
        ({"embeddings": torch.full((5, 3), torch.nan), "logits": torch.zeros(5, 0)}, {"seconds": 1.0}),
        ({"embeddings": torch.zeros(5, 3)}, {"seconds": 1.0}),
        ({"embeddings": torch.zeros(5, 3), "logits": torch.zeros(5, 0)}, {}),
    ],
)
def test_predictions_of_other_images_are_refused(images, tmp_path, tensors, state):
    source = StoredSource(Counting(), tmp_path)
    source.predict(images)
    (path,) = tmp_path.iterdir()
    save_checkpoint(path, tensors, state)
    with pytest.raises(InputError, match=rf"{path.name} is not of these images .*delete it"):
        source.predict(images)
