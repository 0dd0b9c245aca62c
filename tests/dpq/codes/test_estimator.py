import re

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from dpq import InputError
from dpq.codes.estimator import ProgressiveQuantizerEstimator

K = 4


def reference_codes(x, codebooks):
    """The nearest codeword in L2 of what the levels before left, by the obvious loop."""
    codes = []
    for row in x:
        residual, code = row.copy(), []
        for codebook in codebooks:
            code.append(int(((codebook - residual) ** 2).sum(axis=1).argmin()))
            residual = residual - codebook[code[-1]]
        codes.append(code)
    return np.array(codes)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(80, 5))


@pytest.fixture
def fitted(x):
    return ProgressiveQuantizerEstimator(levels=3, codebook_size=16, random_state=0).fit(x)


# scikit-learn's data sets have too few samples for 256 codewords; nothing else is asked to be let off.
@parametrize_with_checks([ProgressiveQuantizerEstimator(levels=2, codebook_size=K)])
def test_scikit_learn_interface(estimator, check):
    check(estimator)


def test_codes_are_nearest_codewords_of_residuals(fitted, x):
    codes = fitted.transform(x)
    assert codes.dtype == np.uint8
    assert codes.tolist() == reference_codes(x, fitted.codebooks_.astype(np.float64)).tolist()


def test_a_prefix_decodes_to_the_sum_of_its_codewords(fitted, x):
    codes = fitted.transform(x)
    for levels in (1, 2, 3):
        expected = sum(fitted.codebooks_[level][codes[:, level]] for level in range(levels))
        np.testing.assert_allclose(fitted.inverse_transform(codes, levels), expected, atol=1e-5)
        np.testing.assert_array_equal(
            fitted.inverse_transform(codes[:, :levels]), fitted.inverse_transform(codes, levels)
        )


def test_every_level_lowers_the_error(fitted, x):
    codes = fitted.transform(x)
    errors = [((x - fitted.inverse_transform(codes, levels)) ** 2).mean() for levels in (1, 2, 3)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < errors[0] < x.var()


def test_a_shorter_training_is_a_prefix_of_a_longer_one(fitted, x):
    shorter = clone(fitted).set_params(levels=2).fit(x)
    np.testing.assert_array_equal(shorter.codebooks_, fitted.codebooks_[:2])


def test_the_random_state_decides(fitted, x):
    again = clone(fitted).fit(x)
    other = clone(fitted).set_params(random_state=1).fit(x)
    np.testing.assert_array_equal(again.codebooks_, fitted.codebooks_)
    assert not np.array_equal(other.codebooks_, fitted.codebooks_)


def test_in_a_pipeline_with_names(x):
    pipeline = make_pipeline(StandardScaler(), ProgressiveQuantizerEstimator(3, 16, random_state=0)).fit(x)
    codes = pipeline.transform(x)
    assert ((pipeline.inverse_transform(codes) - x) ** 2).mean() < x.var()
    assert pipeline.get_feature_names_out().tolist() == [f"progressivequantizerestimator{level}" for level in range(3)]


def test_refusals(fitted, x):
    with pytest.raises(InputError, match="power of two"):
        ProgressiveQuantizerEstimator(codebook_size=100).fit(x)
    with pytest.raises(InputError, match="levels must be at least 1; got 0"):
        ProgressiveQuantizerEstimator(levels=0).fit(x)
    for name in ("levels", "codebook_size", "iterations"):
        for value in (2.0, np.linspace(1, 3, 3)[1], "2", None, True, np.nan):
            with pytest.raises(InputError, match=rf"{name} must be a whole number.*; got {re.escape(repr(value))}"):
                clone(fitted).set_params(**{name: value}).fit(x)
        with pytest.raises(InputError, match=f"{name} must be .* got -1"):
            clone(fitted).set_params(**{name: -1}).fit(x)
    for value in ("seed", 1.5, -1):
        with pytest.raises(InputError, match=f"random_state cannot be {value!r}: "):
            clone(fitted).set_params(random_state=value).fit(x)
    with pytest.raises(ValueError, match=r"80 sample.*minimum of 256"):
        ProgressiveQuantizerEstimator().fit(x)
    with pytest.raises(ValueError, match="codes of 16 codewords are from 0 to 15; got 0 to 16"):
        fitted.inverse_transform([[0, 16]])
    with pytest.raises(InputError, match="cannot decode 4 levels"):
        fitted.inverse_transform(fitted.transform(x), levels=4)
