from itertools import pairwise

import pytest
import torch

from baselines.quantizers.label_code import LabelCode, check_classes, class_order
from dpq import InputError
from dpq.codes import additive
from dpq.codes.additive import decode
from dpq.learning.settings import Preprocessing, TrainingConfig
from dpq.metrics import mean_average_precision
from dpq.protocols.base import Split

CLASSES = 5


class Known:
    """A source whose images are the numbers of rows of given logits."""

    preprocessing = Preprocessing()

    def __init__(self, logits):
        self.logits = logits

    def predict(self, images, *, views=None, progress=False):
        logits = self.logits[images[:, 0, 0, 0].long()]
        return logits.new_full((len(logits), 3), torch.nan), logits


def random_logits(count=200, classes=CLASSES, scale=4.0):
    return scale * torch.randn(count, classes, generator=torch.Generator().manual_seed(0))


def numbered(count):
    return torch.arange(count).to(torch.uint8)[:, None, None, None].expand(-1, 3, 1, 1)


def fitted(logits, bits=16, size=16):
    method = LabelCode(Known(logits), bits, size)
    labels = torch.nn.functional.one_hot(torch.arange(len(logits)) % logits.shape[1]).bool()
    method.fit(Split(numbered(len(logits)), labels), TrainingConfig(epochs=1))
    return method


@pytest.fixture
def logits():
    return random_logits()


def ranked(method, images):
    """Scores [N, N] of all images as queries by all images as codes, with their codes."""
    embeddings = method.embed(images)
    codes = method.encode(embeddings)
    return embeddings @ decode(codes, method.codebooks).T, codes


def leads(logits):
    """How far the largest logit of each row is above the second."""
    return logits.topk(2, dim=1).values.diff(dim=1).neg()[:, 0]


@pytest.mark.parametrize("host", [True, False], ids=["scikit-learn", "as on a GPU"])
@pytest.mark.parametrize(("classes", "size", "each"), [(5, 16, 3), (10, 256, 25), (100, 256, 2), (16, 16, 1)])
def test_the_first_codeword_is_the_predicted_class_and_a_step_of_confidence(classes, size, each, host, monkeypatch):
    monkeypatch.setattr(additive, "_on_host", lambda _: host)
    logits = random_logits(256, classes)
    code = fitted(logits, size.bit_length() - 1, size).encode(class_order(logits))[:, 0].long()
    assert torch.equal(code // each, logits.argmax(dim=1))
    steps = (code % each)[leads(logits).argsort()]
    assert (steps.diff() >= 0).all() and steps.unique().tolist() == list(range(each))


def test_one_codeword_orders_the_images_of_a_class():
    """What 8 bits were without confidence: ten different scores for a query, and an mAP below this one's."""
    logits = random_logits(256, 10, scale=1.0)
    labels = torch.distributions.Categorical(logits=2 * logits).sample()
    relevant = (labels[:, None] == labels).numpy()
    scores, codes = ranked(fitted(logits, 8, 256), numbered(256))
    class_alone = class_order(logits)[:, logits.argmax(dim=1)]
    ours, without = (mean_average_precision(each.numpy(), relevant) for each in (scores, class_alone))
    assert len(codes.unique()) > 150
    assert ours > without + 0.02


@pytest.mark.parametrize("bits", [4, 8, 12, 16])
def test_a_query_ranks_classes_as_it_believes_in_them(logits, bits):
    """Whatever the confidences; within a class, images of a higher level come first."""
    method = fitted(logits, bits)
    scores, _ = ranked(method, numbered(len(logits)))
    predicted = logits.argmax(dim=1)
    for query in range(0, len(logits), 7):
        believed = logits[query].argsort(descending=True)
        ranges = [(part.min(), part.max()) for part in (scores[query, predicted == c] for c in believed)]
        assert all(low > high for (low, _), (_, high) in pairwise(ranges))


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_the_most_confident_of_a_class_come_first(logits, bits):
    """Up to what the last level does not tell apart."""
    method = fitted(logits, bits)
    scores, codes = ranked(method, numbered(len(logits)))
    predicted, coarsest = logits.argmax(dim=1), {4: 1e-6, 8: 0.01, 16: 1e-4}[bits]
    for c in range(CLASSES):
        rows = torch.nonzero(predicted == c).flatten()
        rows = rows[leads(logits)[rows].argsort()]
        assert len(codes[rows, 0].unique()) == 3
        for query in rows[:3]:
            assert (scores[query, rows].diff() >= -coarsest).all()
            assert scores[query, rows[-1]] > scores[query, rows[0]] + 1e-4


def test_confidence_never_outweighs_a_class_even_at_its_ends():
    sure, unsure = torch.tensor([1e6, 0.0, -1.0]), torch.tensor([0.0, 0.1, 0.1 - 1e-4])
    query, of_second, of_third = class_order(torch.stack([sure, unsure, sure.flip(0)]))
    code = torch.eye(4)[:3]
    second, third = code[1] + of_second[3] * torch.eye(4)[3], code[2] + of_third[3] * torch.eye(4)[3]
    assert query @ code[0] > query @ second > query @ third


def test_longer_codes_refine_the_confidence_alone(logits):
    method = fitted(logits, 16)
    embeddings, codes = class_order(logits), method.encode(class_order(logits))
    errors = []
    for levels in (1, 2, 3, 4):
        rebuilt = decode(codes, method.codebooks, levels)
        assert torch.equal(rebuilt[:, :CLASSES], method.codebooks[0][codes[:, 0].long()][:, :CLASSES])
        errors.append(float((embeddings - rebuilt)[:, CLASSES].square().mean()))
    assert all(before > 4 * after for before, after in pairwise(errors))


def test_several_classes_an_image_are_refused():
    labels = torch.eye(4, dtype=torch.bool).repeat(5, 1)
    check_classes(Split(numbered(20), labels), 4)
    labels[3, 0] = True
    with pytest.raises(InputError, match=r"one class per image, and 1 training images have several"):
        check_classes(Split(numbered(20), labels), 16)


def test_more_classes_than_codewords_are_refused_before_anything_is_computed():
    logits = random_logits(40, classes=17)
    with pytest.raises(InputError, match=r"17 classes are more than 16 codewords; take a larger codebook_size"):
        fitted(logits)


@pytest.mark.parametrize("classes", [0, 1])
def test_a_source_without_a_classifier_is_refused(classes):
    with pytest.raises(InputError, match=f"classifies at least two classes; got {classes}"):
        class_order(torch.zeros(4, classes))
