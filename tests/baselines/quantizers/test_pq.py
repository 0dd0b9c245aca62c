import faiss
import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from baselines.quantizers.pq import PQ, product_kmeans, sub_spaces
from dpq import InputError
from dpq.codes.additive import decode, encode
from dpq.files.checkpoint import load_checkpoint, save_checkpoint
from dpq.learning.settings import Execution, TrainingConfig
from dpq.protocols import Split


def clustered(points=4000, dim=32, seed=0):
    """Points with the uneven spectrum of real features."""
    generator = np.random.default_rng(seed)
    scale = np.linspace(2, 0.2, dim)
    return (generator.normal(size=(points, dim)) * scale + generator.normal(size=(20, dim))[:1]).astype(np.float32)


def reconstruction_error(x, codebooks):
    x = torch.from_numpy(x)
    return float((x - decode(encode(x, codebooks), codebooks)).square().sum(dim=1).mean())


def faiss_error(x, quantizer):
    """Reconstruction error of a Faiss quantizer that is trained on x, with one thread."""
    faiss.omp_set_num_threads(1)
    quantizer.train(x)
    return np.square(x - quantizer.decode(quantizer.compute_codes(x))).sum(axis=1).mean()


@pytest.mark.parametrize(("parts", "codewords"), [(4, 64), (2, 256), (1, 16)])
def test_reconstruction_error_is_within_two_percent_of_faiss(parts, codewords):
    x = clustered()
    theirs = faiss.ProductQuantizer(x.shape[1], parts, codewords.bit_length() - 1)
    ours = reconstruction_error(x, product_kmeans(torch.from_numpy(x), parts, codewords, seed=0))
    assert ours == pytest.approx(faiss_error(x, theirs), rel=0.02)


def test_greedy_codes_are_the_nearest_codeword_of_every_sub_space():
    x = torch.from_numpy(clustered(500, 12))
    codebooks = product_kmeans(x, 3, 16, seed=0)
    codes = encode(x, codebooks)
    for level in range(3):
        own = slice(4 * level, 4 * level + 4)
        distances = torch.cdist(x[:, own], codebooks[level, :, own])
        assert torch.equal(codes[:, level].long(), distances.argmin(dim=1))


def test_codewords_are_zero_outside_their_sub_space_and_k_means_centres_inside():
    x = torch.from_numpy(clustered(300, 8))
    codebooks = product_kmeans(x, 2, 8, seed=5)
    assert not codebooks[0, :, 4:].any()
    assert not codebooks[1, :, :4].any()
    expected = KMeans(8, n_init=1, max_iter=50, random_state=5).fit(x[:, :4].numpy()).cluster_centers_
    assert np.allclose(codebooks[0, :, :4], expected)


def test_sub_spaces_cover_every_dimension_once():
    for dim, parts in ((1280, 3), (300, 4), (10, 10), (7, 2)):
        pieces = [range(dim)[part] for part in sub_spaces(dim, parts)]
        assert [i for piece in pieces for i in piece] == list(range(dim))
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


def test_more_parts_than_dimensions_and_more_codewords_than_points_are_refused():
    with pytest.raises(InputError, match="3 dimensions cannot be divided into 4 sub-spaces"):
        product_kmeans(torch.zeros(20, 3), 4, 4, seed=0)
    with pytest.raises(InputError, match="need at least as many training images; got 20"):
        product_kmeans(torch.zeros(20, 8), 4, 32, seed=0)


class Given:
    """A source whose embeddings are the pixels."""

    preprocessing = None

    def predict(self, images, *, views=None, progress=False):
        return images.flatten(1).float(), torch.empty(len(images), 0)


def fitted(path, bits=8):
    images = torch.randint(0, 256, (40, 3, 2, 2), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    method = PQ(Given(), bits, 16)
    method.fit(Split(images, torch.ones(40, 1, dtype=torch.bool)), TrainingConfig(1), 0, Execution(checkpoint=path))
    return method


def test_codebooks_go_on_from_their_own_checkpoint_alone(tmp_path):
    path = tmp_path / "c.safetensors"
    codebooks = fitted(path).codebooks
    assert torch.equal(fitted(path).codebooks, codebooks)
    with pytest.raises(InputError, match=r"c\.safetensors is of another training .*delete it"):
        fitted(path, bits=16)
    for tensors, state in (({}, {"seconds": 1.0}), ({"codebooks": codebooks}, {"seconds": -1.0})):
        save_checkpoint(path, tensors, state)
        with pytest.raises(InputError, match="is of another training"):
            fitted(path)
    save_checkpoint(path, {"codebooks": codebooks[:, :, :5].contiguous()}, {"seconds": 1.0})
    assert load_checkpoint(path)[0]["codebooks"].shape == (2, 16, 5)
    with pytest.raises(InputError, match=r"expected embeddings \[N, 5\].* got 12 dimensions"):
        fitted(path).encode(torch.zeros(3, 12))
