from dataclasses import replace

import pytest
import torch
from torch import nn

from baselines.binary.csq_nested import METHOD as CSQ_NESTED
from baselines.binary.csq_nested import NestedCSQConfig
from baselines.binary.nested import dominance_aware_weights, nested_lengths, nested_targets, order_difference
from baselines.binary.orthohash_nested import METHOD as ORTHOHASH_NESTED
from baselines.binary.orthohash_nested import NestedOrthoHashConfig
from baselines.binary.targets import hadamard
from dpq import InputError
from dpq.codes.additive import encode
from dpq.learning.backbone import Backbone
from dpq.learning.entry import MethodContext
from tests.dpq.conftest import BACKBONE

KINDS = {"csq": (CSQ_NESTED, NestedCSQConfig()), "orthohash": (ORTHOHASH_NESTED, NestedOrthoHashConfig())}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def make(request):
    entry, config = request.param

    # Of 4 bits a level.
    def build(bits=24, classes=4, codebook_size=16, **changes):
        torch.manual_seed(0)

        def network(classes, embedding_dim=0, head="tanh"):
            return Backbone(BACKBONE, classes, embedding_dim, head=head)

        changed = replace(config, **changes)
        return entry.build(MethodContext(changed, bits, codebook_size, classes, torch.empty(0), network))

    return build


@pytest.mark.parametrize(
    ("bits", "size", "lengths"),
    [
        (32, 256, [8, 16, 24, 32]),
        (64, 16, [8, 16, 24, 32, 40, 48, 56, 64]),
        (12, 16, [8, 12]),
        (8, 256, [8]),
        (4, 16, [4]),
        (20, 32, [10, 20]),
        (21, 8, [9, 18, 21]),
    ],
)
def test_lengths_are_whole_levels_of_at_least_a_byte(bits, size, lengths):
    assert nested_lengths(bits, size) == lengths


def test_a_prefix_is_the_code_of_the_shorter_head(make, split, training):
    method = make()
    method.fit(split, training)
    embeddings = method.embed(split.images)
    whole = method.encode(embeddings)
    for bits in nested_lengths(24, 16):
        shorter = make(bits)
        sizes, state = shorter.backbone.state_dict(), method.backbone.state_dict()
        shorter.backbone.load_state_dict({n: v[: len(sizes[n])] if v.ndim else v for n, v in state.items()})
        shorter.training_config = training  # the size of images
        found = shorter.eval().encode(shorter.embed(split.images))
        assert torch.equal(found, whole[:, : bits // 4])
        assert torch.equal(found, encode(embeddings, method.codebooks[: bits // 4]))


def test_the_terms_are_the_losses_of_all_lengths(make):
    method = make(cascade=0.5, dominance=False)
    outputs, labels = torch.randn(6, 24), torch.eye(4, dtype=torch.bool)[[0, 1, 2, 3, 0, 1]]
    terms = method.terms(outputs, labels)
    assert list(terms) == ["bits_8", "bits_16", "bits_24"]
    for index, bits in enumerate((8, 16, 24)):
        expected = sum(float(term) for term in method.nested[index](outputs[:, :bits], labels).values())
        if bits < 24:
            expected += 0.5 * float(order_difference(outputs[:, :bits], outputs[:, : bits + 8]))
        assert float(terms[f"bits_{bits}"]) == pytest.approx(expected, rel=1e-5)


def test_the_cascade_moves_the_shorter_code_alone(make):
    method = make(cascade=1.0, dominance=False)
    outputs = torch.randn(6, 24, requires_grad=True)
    without = torch.autograd.grad(order_difference(outputs[:, :8], outputs[:, :16].detach()), outputs)[0]
    assert without[:, :8].abs().sum() > 0
    assert not without[:, 8:].any()
    for host in method.nested:
        host.forward = lambda own, labels: {"none": own.sum() * 0}
    gradient = torch.autograd.grad(sum(method.terms(outputs, torch.ones(6, 4, dtype=torch.bool)).values()), outputs)[0]
    assert not gradient[:, 16:].any()  # there is no longer code whose order they could take


def test_order_difference_is_that_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    short, longer = torch.randn(5, 3, generator=generator), torch.randn(5, 6, generator=generator)
    total = 0.0
    for i in range(5):
        rows = [[float(x[i] @ x[j]) for j in range(5)] for x in (short, longer)]
        unit = [[v / sum(w * w for w in row) ** 0.5 for v in row] for row in rows]
        total += sum((a - b) ** 2 for a, b in zip(*unit, strict=True))
    assert float(order_difference(short, longer)) == pytest.approx(total / 25, rel=1e-5)
    assert float(order_difference(short, 3 * short)) == pytest.approx(0, abs=1e-12)
    assert order_difference(torch.zeros(2, 3), longer[:2]).isfinite()


def slow_weights(gradients):
    count = len(gradients)
    cuts = [[1.0] * count for _ in range(count)]
    for i in range(count):
        for j in range(i + 1, count):
            dot = sum(float(a) * float(b) for a, b in zip(gradients[i].flatten(), gradients[j].flatten(), strict=False))
            part = float(gradients[i].square().sum()) / (count - 1)
            if dot < 0 and -dot > part:
                cuts[i][j] = part / -dot
            cuts[i][j] = min(cuts[i][j], cuts[i][i + 1])
    weights = [1.0] * count
    for j in range(count):
        for i in range(j):
            weights[j] *= cuts[i][j]
    return [weight * count / sum(weights) for weight in weights]


@pytest.mark.parametrize("seed", range(8))
def test_dominance_aware_weights_are_those_of_a_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    gradients = [torch.randn(bits, 3, generator=generator, dtype=torch.float64) for bits in (2, 4, 6, 8)]
    gradients[1 + seed % 3][:2] -= 2 * gradients[0]
    weights = dominance_aware_weights(gradients)
    assert weights.tolist() == pytest.approx(slow_weights(gradients))
    assert float(weights.sum()) == pytest.approx(4)


def test_a_longer_code_that_undoes_the_shorter_one_is_held_back():
    short, longer = torch.ones(2, 3), torch.zeros(4, 3)
    longer[:2] = -4.0
    weights = dominance_aware_weights([short, longer])
    assert weights.tolist() == pytest.approx([2 / 1.25, 2 * 0.25 / 1.25])
    assert float((weights[0] * short + weights[1] * longer[:2]).sum()) == pytest.approx(0, abs=1e-6)
    longer[:2] = 4.0
    assert dominance_aware_weights([short, longer]).tolist() == [1.0, 1.0]
    assert dominance_aware_weights([0 * short, 0 * longer]).tolist() == [1.0, 1.0]  # nothing is left to learn


def test_weights_are_of_the_gradients_of_the_head(make, split):
    method = make()
    method.train()
    images, labels = torch.rand(8, 3, 32, 32), split.labels[:8]
    feature = method.backbone.body(images).detach()

    def losses():
        outputs = method.backbone.squash(method.backbone.embedding(feature))
        own = [
            sum(host(outputs[:, :b], labels).values()) for host, b in zip(method.nested, method.lengths, strict=True)
        ]
        for index, bits in enumerate((8, 16)):
            own[index] = own[index] + order_difference(outputs[:, :bits], outputs[:, : bits + 8].detach())
        return own

    gradients = []
    for index, bits in enumerate(method.lengths):
        method.zero_grad()
        losses()[index].backward()
        gradients.append(method.backbone.embedding.weight.grad[:bits].clone())
    weights = slow_weights(gradients)
    outputs = method.backbone.squash(method.backbone.embedding(feature))
    terms = method.terms(outputs, labels)
    found = [term.item() / loss.item() for term, loss in zip(terms.values(), losses(), strict=True)]
    assert found == pytest.approx(weights, rel=1e-3)
    assert all(not weight.requires_grad for weight in method._weights(losses()))


def test_one_length_alone_needs_no_weights(make):
    method = make(8)
    outputs, labels = torch.randn(6, 8), torch.eye(4, dtype=torch.bool)[[0, 1, 2, 3, 0, 1]]
    assert isinstance(method.nested, nn.ModuleList) and len(method.nested) == 1
    assert set(method.terms(outputs, labels)) == {"bits_8"}


def test_targets_of_a_length_begin_those_of_longer_ones():
    for bits, whole in ((8, 8), (16, 16), (24, 32), (32, 32), (48, 64)):
        assert torch.equal(
            nested_targets(10, bits, "hadamard"), torch.cat([hadamard(whole), -hadamard(whole)])[:10, :bits]
        )
    longest = nested_targets(16, 64, "hadamard")
    for bits in (8, 16, 24, 32, 40, 64):  # 16 classes are the rows of H and -H of order 8
        assert torch.equal(nested_targets(16, bits, "hadamard"), longest[:, :bits])


def test_more_classes_than_the_shortest_has_codes_are_refused(make):
    with pytest.raises(InputError, match="20 classes need different targets, and 4 bits have 16"):
        make(4, classes=20)
