"""The codes of every method, in Faiss."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.setting.building import build_method, frozen_features, read_ingredients
from benchmarks.setting.experiment import parse_experiment
from benchmarks.setting.methods import METHODS
from dpq.protocols import load_protocol
from dpq.ranking.scores import asymmetric_scores
from dpq.search.index import CodeIndex
from tests.benchmarks.conftest import TINY

BITS, QUERIES, NEAREST = (4, 8, 12), 1000, 20


@pytest.fixture(scope="module")
def dataset():
    return load_protocol("digits").limited(60)


@pytest.mark.parametrize("name", list(METHODS))
def test_faiss_finds_the_ranking_of_every_method_at_every_length(name, dataset):
    experiment = replace(parse_experiment("tiny", TINY.replace("epochs = 2", "epochs = 1")), bits=(max(BITS),))
    ingredients = read_ingredients(experiment, dataset)
    source, read = None, METHODS[name].source
    if read == "backbone":
        source = frozen_features(experiment, ingredients, torch.device("cpu"))
    elif read is not None:
        source = build_method(read, experiment, ingredients, 0)
    method = build_method(name, experiment, ingredients, 0, source)
    method.fit(dataset.train, experiment.training, seed=0)
    embedded = method.embed(dataset.database.images)
    random = torch.Generator().manual_seed(0)
    drawn = embedded[torch.randint(len(embedded), (QUERIES,), generator=random)]
    queries = drawn + 0.3 * embedded.std() * torch.randn(drawn.shape, generator=random)
    for score in ("inner", "l2"):
        index = CodeIndex(method.encode(embedded), method.codebooks, score)
        for bits in BITS:
            short = index.prefix(bits)
            scores = asymmetric_scores(queries, short.codes, short.codebooks, score)
            found = short.search(queries, NEAREST)
            of_found = scores.gather(1, torch.from_numpy(found.rows))
            assert all(len(set(row)) == len(row) for row in found.rows.tolist())
            scale = float(scores.abs().max())
            np.testing.assert_allclose(of_found, scores.topk(found.rows.shape[1]).values, atol=1e-5 * scale)
