"""What PQNet, Klein and Wolf's method and GPQ share: codebooks in sub-spaces that learn by gradient."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from baselines.deep import gpq, klein_wolf, pqnet
from baselines.deep.gpq import GPQ, GPQConfig
from baselines.deep.klein_wolf import KleinWolf, KleinWolfConfig
from baselines.deep.pqnet import PQNet, PQNetConfig
from baselines.deep.product import mixture, part_products, unit_parts
from dpq import InputError
from dpq.learning.backbone import Backbone
from dpq.learning.settings import Execution
from dpq.learning.training import Trainer
from tests.dpq.conftest import BACKBONE

CPU = torch.device("cpu")
KINDS = {"pqnet": (PQNet, PQNetConfig()), "klein-wolf": (KleinWolf, KleinWolfConfig()), "gpq": (GPQ, GPQConfig())}


def build(name, bits=8, dim=15, **changes):
    """15 dimensions: the sub-spaces differ in width."""
    kind, config = KINDS[name]
    torch.manual_seed(0)
    network = Backbone(BACKBONE, 0, embedding_dim=dim, head="none")
    return kind(network, replace(config, **changes), bits=bits, codebook_size=16, classes=4)


@pytest.fixture(params=KINDS)
def name(request):
    return request.param


def reached(method, codes):
    """The names of the parameters that get a gradient other than 0."""
    x = method.backbone.embedding(torch.randn(12, method.backbone.embedding.in_features))
    labels = torch.eye(4, dtype=torch.bool)[torch.arange(12) % 4]
    method.zero_grad()
    torch.stack(list(method.terms(x, labels, codes).values())).sum().backward()
    named = method.named_parameters()
    return {name for name, p in named if p.grad is not None and p.grad.any() and not name.startswith("backbone.body")}


def test_gradients_reach_network_codebooks_and_layers_and_before_codes_no_codebook(name):
    own = {
        "pqnet": set(),
        "klein-wolf": {"classifier.weight", "classifier.bias", "centres"},
        "gpq": {"prototypes"},
    }[name] | {"backbone.embedding.weight", "backbone.embedding.bias"}
    quantizing = {"codewords"} | ({"weight", "bias"} if name == "klein-wolf" else set())
    method = build(name)
    assert reached(method, codes=False) == own
    assert reached(method, codes=True) == own | quantizing


def test_no_gradient_reaches_what_lies_outside_a_sub_space(name):
    method = build(name)
    reached(method, codes=True)
    outside = method.mask[:, None].expand_as(method.codewords) == 0
    assert outside.any()
    assert not method.codewords.grad[outside].any()
    assert method.codewords.grad[~outside].all()


def test_every_parameter_is_in_one_group(name, training):
    method = build(name)
    groups = [*method.network_parameters(training), *method.codebook_parameters()]
    parameters = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(parameters) == sorted(id(parameter) for parameter in method.parameters())


@pytest.mark.parametrize("changes", [{}, {"feature_epochs": 0.0}, {"feature_epochs": 1.0}], ids=str)
def test_codebooks_stay_in_their_sub_spaces(name, split, training, changes):
    method = build(name, **changes)
    log = method.fit(split, replace(training, epochs=2), execution=Execution(progress=False)).epochs
    dim = method.mask.shape[1]
    assert not method.codebooks[:, :, :dim][method.mask[:, None].expand(-1, 16, -1) == 0].any()
    assert not method.codebooks[:, :, dim:].any()
    assert ("gini batch" in log[-1]) == (name == "klein-wolf" and changes.get("feature_epochs") != 1.0)


@pytest.mark.parametrize("step", [6, 8])  # 3 steps an epoch, 4 epochs: where codes start, and within
def test_interrupted_equals_uninterrupted(name, split, training, tmp_path, monkeypatch, step):
    whole = build(name)
    log = whole.fit(split, training)
    original, calls = Trainer.step, iter(range(100))

    def interrupted(*arguments):
        if next(calls) == step:
            raise KeyboardInterrupt
        return original(*arguments)

    execution = Execution(CPU, tmp_path / "own.safetensors", tmp_path / "features.safetensors")
    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(name).fit(split, training, execution=execution)
    monkeypatch.undo()
    resumed = build(name)
    assert resumed.fit(split, training, execution=execution).epochs == log.epochs
    assert not execution.feature_checkpoint.exists()  # of another length the features are others
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in resumed.state_dict().items())


def test_steps_of_a_phase_find_everything_in_its_place(name, split, training, monkeypatch):
    method, places = build(name), {}
    losses = method.losses

    def watched(inputs, labels, rows, epoch):
        places.setdefault(method.phase(epoch), set()).add(tuple(t.data_ptr() for t in method.state_dict().values()))
        return losses(inputs, labels, rows, epoch)

    monkeypatch.setattr(method, "losses", watched)
    method.fit(split, training)
    assert {phase: len(found) for phase, found in places.items()} == {False: 1, True: 1}


def test_more_sub_spaces_than_dimensions_are_refused(name):
    with pytest.raises(InputError, match="15 dimensions cannot be divided into 16 sub-spaces"):
        build(name, bits=64)


def test_parts_against_slices():
    generator = torch.Generator().manual_seed(0)
    x, mask = torch.randn(5, 7, generator=generator), torch.zeros(2, 7)
    mask[0, :3], mask[1, 3:] = 1, 1
    vectors = torch.randn(2, 4, 7, generator=generator) * mask[:, None]
    shares = torch.rand(5, 2, 4, generator=generator)
    parts = [x[:, :3], x[:, 3:]], [vectors[0, :, :3], vectors[1, :, 3:]]
    products = torch.stack([part @ words.T for part, words in zip(*parts, strict=True)], dim=1)
    assert torch.allclose(part_products(x, vectors), products, atol=1e-6)
    mixed = torch.cat([shares[:, m] @ words for m, words in enumerate(parts[1])], dim=1)
    assert torch.allclose(mixture(shares, vectors), mixed, atol=1e-6)
    unit = unit_parts(x, mask)
    assert torch.allclose(unit, torch.cat([part / part.norm(dim=1, keepdim=True) for part in parts[0]], dim=1))
    assert torch.allclose(unit.square().sum(dim=1), torch.full((5,), 2.0))


def test_a_part_of_no_length_stays_and_has_a_finite_gradient():
    x = torch.zeros(1, 4, requires_grad=True)
    with torch.no_grad():
        x[0, 2:] = 3.0
    mask = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    unit = unit_parts(x, mask)
    unit.sum().backward()
    assert unit.tolist() == [[0, 0, pytest.approx(0.5**0.5), pytest.approx(0.5**0.5)]]
    assert x.grad.isfinite().all()


def test_a_random_codeword_is_of_length_1_in_the_mean():
    vectors = build("pqnet").random(4000)
    assert torch.allclose(vectors.square().sum(dim=2).mean(dim=1), torch.ones(2), atol=0.05)


def test_what_is_read_off_does_not_depend_on_the_precision_of_training(name):
    method = build(name).eval()
    method.backbone.forward = lambda inputs, count=None: (inputs, inputs[:, :0])
    x = torch.randn(6, 15)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = method(x)[0]
    assert torch.equal(embeddings, method(x)[0])


@pytest.mark.parametrize(
    ("entry", "config", "expected"),
    [
        (pqnet.METHOD, PQNetConfig(), (0, 0, "none")),
        (pqnet.METHOD, PQNetConfig(unit_parts=False, embedding_dim=24), (0, 24, "tanh")),
        (klein_wolf.METHOD, KleinWolfConfig(embedding_dim=24), (0, 24, "none")),
        (gpq.METHOD, GPQConfig(part_width=10), (0, 20, "none")),
    ],
)
def test_heads_and_widths_that_they_ask_for(entry, config, expected):
    made = []

    def network(classes, embedding_dim, head):
        made.append((classes, embedding_dim, head))
        return Backbone(BACKBONE, classes, embedding_dim or 16, head=head)

    entry.build(SimpleNamespace(config=config, bits=8, codebook_size=16, classes=3, backbone=network))
    assert made == [expected]
