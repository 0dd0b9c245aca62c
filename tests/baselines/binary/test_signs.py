import pytest
import torch

from baselines.binary.csq import CSQ
from baselines.binary.hashnet import HashNet
from baselines.binary.orthohash import METHOD as ORTHOHASH
from baselines.binary.signs import sign_codebooks
from benchmarks.records.raw import RawResult
from benchmarks.running.evaluation import evaluate_lengths
from dpq import InputError
from dpq.codes.additive import decode, encode
from dpq.conformance import conformance_checks
from dpq.learning.backbone import Backbone
from dpq.metrics import mean_average_precision
from tests.dpq.conftest import BACKBONE


def signs_of(x):
    return torch.where(x > 0, 1.0, -1.0)


def method_of(kind, bits=12, codebook_size=16, **arguments):
    torch.manual_seed(0)
    backbone = Backbone(BACKBONE, 0, embedding_dim=bits, head="none")
    return kind(backbone, bits=bits, codebook_size=codebook_size, **arguments)


@pytest.mark.parametrize(("bits", "size"), [(12, 16), (8, 256), (6, 8), (5, 2), (32, 256)])
def test_every_sum_of_codewords_is_a_vector_of_signs(bits, size):
    codebooks, step = sign_codebooks(bits, size), size.bit_length() - 1
    assert codebooks.shape == (bits // step, size, bits)
    for level, codebook in enumerate(codebooks):
        for number, word in enumerate(codebook.tolist()):
            expected = [0.0] * bits
            for bit in range(step):
                expected[level * step + bit] = 1.0 if number >> bit & 1 else -1.0
            assert word == expected
    codes = torch.randint(size, (50, bits // step))
    assert set(decode(codes, codebooks).flatten().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize(("bits", "size"), [(12, 256), (10, 16), (0, 16), (-4, 16), (12, 10)])
def test_lengths_that_are_no_whole_levels_are_refused(bits, size):
    with pytest.raises(InputError):
        sign_codebooks(bits, size)


def test_a_head_of_another_width_is_refused():
    with pytest.raises(InputError, match="12 bits needs a head as wide; got 16"):
        HashNet(Backbone(BACKBONE, 0, embedding_dim=16, head="none"), bits=12, codebook_size=16)


@pytest.mark.parametrize(("bits", "size"), [(12, 16), (16, 256), (6, 8)])
def test_codes_are_signs_as_the_greedy_encoder_has_them(bits, size):
    method = method_of(HashNet, bits, size)
    x = torch.randn(300, bits)
    x[:20, ::2] = 0.0  # a tie, which both give to -1
    x[20], x[21] = 0.0, -0.0
    codes = method.encode(x)
    assert codes.dtype == torch.uint8
    assert torch.equal(codes, encode(x, method.codebooks))
    assert torch.equal(decode(codes, method.codebooks), signs_of(x))
    step = size.bit_length() - 1
    shorter = method.encode(x, bits=step)
    assert torch.equal(decode(shorter, method.codebooks[:1])[:, :step], signs_of(x[:, :step]))


def test_a_small_number_keeps_its_sign_beside_a_large_one():
    method = method_of(HashNet, 8, 256)
    x = torch.full((2, 8), 1e-12)
    x[:, 0], x[1, 3] = 100.0, -1e-12
    assert torch.equal(decode(method.encode(x), method.codebooks), signs_of(x))


def test_embeddings_that_are_not_finite_are_refused():
    method = method_of(HashNet)
    x = torch.zeros(3, 12)
    x[1, 2] = torch.nan
    with pytest.raises(InputError, match="the first is embedding 1"):
        method.encode(x)


def test_the_order_is_that_of_hamming_distances():
    method = method_of(HashNet, 16, 16)
    queries, database = torch.randn(5, 16), torch.randn(80, 16)
    labels = torch.eye(4, dtype=torch.bool)[torch.randint(4, (85,))]
    raw = RawResult(
        method.encode(database).numpy(),
        method.codebooks.numpy(),
        queries.numpy(),
        labels[:5].numpy(),
        labels[5:].numpy(),
        query_codes=method.encode(queries).numpy(),
    )
    relevant = (labels[:5].float() @ labels[5:].float().T > 0).numpy()
    entries, _ = evaluate_lengths(raw, {8: 0.0, 16: 0.0}, None, "symmetric", "float32")
    for bits, entry in zip((8, 16), entries, strict=True):
        differ = [[int(((q[:bits] > 0) != (x[:bits] > 0)).sum()) for x in database] for q in queries]
        distances = torch.tensor(differ)
        assert entry.map == pytest.approx(mean_average_precision(-distances.float(), relevant), abs=1e-6)
        asymmetric = queries[:, :bits] @ signs_of(database[:, :bits]).T
        assert entry.map_asymmetric == pytest.approx(mean_average_precision(asymmetric, relevant), abs=1e-6)


def test_embeddings_have_the_signs_of_the_head():
    images = torch.rand(6, 3, 32, 32)
    for kind, arguments in ((HashNet, {}), (CSQ, {"classes": 3})):
        method = method_of(kind, **arguments).eval()
        embeddings, logits = method(images)
        assert torch.equal(signs_of(embeddings), signs_of(method.backbone(images)[0]))
        assert embeddings.abs().max() < 1
        assert logits.shape == (6, 0)


class Shuffled:
    """Codes of the image before."""

    def __init__(self, method):
        self.method = method

    def __getattr__(self, name):
        return getattr(self.method, name)

    def encode(self, embeddings, bits=None):
        return self.method.encode(embeddings, bits).roll(1, dims=0)


def test_conformance_finds_signs_of_other_images():
    from dataclasses import replace

    broken = replace(ORTHOHASH, build=lambda context: Shuffled(ORTHOHASH.build(context)))
    checks = {check.__name__: check for check in conformance_checks(broken)}
    with pytest.raises(AssertionError, match="nearer to its embedding"):
        checks["codes_decode_to_their_embeddings"]()
    checks["the_seed_decides"]()
