"""Codes of every length for embeddings that are there already, in scikit-learn's manner."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from dpq.codes import additive
from dpq.errors import InputError


class ProgressiveQuantizerEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Additive codes by k-means on successive residuals: a prefix of a code is the code of the shorter length.

    One level takes log2 K bits, so the defaults give codes of 32, 24, 16 and 8 bits from one `fit`. These are the
    codebooks that `dpq.DPQ` starts from; embeddings that may still be trained gain from training both together.

    >>> import numpy as np
    >>> from dpq import ProgressiveQuantizerEstimator
    >>> embeddings = np.random.default_rng(0).normal(size=(200, 8))
    >>> quantizer = ProgressiveQuantizerEstimator(levels=3, codebook_size=16, random_state=0).fit(embeddings)
    >>> codes = quantizer.transform(embeddings)
    >>> codes.shape, codes.dtype
    ((200, 3), dtype('uint8'))
    >>> def error(levels):
    ...     return float(((embeddings - quantizer.inverse_transform(codes[:, :levels])) ** 2).mean())
    >>> error(1) > error(2) > error(3)
    True

    Args:
        levels: number of levels M.
        codebook_size: codewords per level K, a power of two of at most 256; `fit` needs as many samples.
        iterations: of k-means, at most, per level.
        random_state: seed of k-means: an integer, a `numpy.random.RandomState`, or None for another draw each time.

    Attributes:
        codebooks_: [M, K, D] float32.
        n_features_in_: D.
        feature_names_in_: names of the columns that `fit` saw, where it saw any.
    """

    def __init__(
        self,
        levels: int = 4,
        codebook_size: int = 256,
        *,
        iterations: int = 50,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.levels = levels
        self.codebook_size = codebook_size
        self.iterations = iterations
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the codebooks.

        Args:
            X: [N, D] numbers, finite.
            y: not used.

        Raises:
            ValueError: too few samples, unusable numbers, a mean so large that float32 has no digits left for the
                spread around it, or a parameter out of range.
        """
        additive.check_codebook_size(self.codebook_size)
        if self.levels < 1 or self.iterations < 1:
            raise InputError(f"levels and iterations must be at least 1; got {self.levels} and {self.iterations}")
        x = self._tensor(X, ensure_min_samples=self.codebook_size)
        _check_digits(np.asarray(X), x.numpy())
        seed = int(check_random_state(self.random_state).randint(2**30))  # one more for each level
        learned = additive.residual_kmeans(x, self.levels, self.codebook_size, seed, iterations=self.iterations)
        self.codebooks_: npt.NDArray[np.float32] = learned.numpy()
        return self

    def transform(self, X: Any) -> npt.NDArray[np.uint8]:
        """Codes [N, M] of embeddings [N, D]; columns are levels, so `codes[:, :m]` are the codes of m levels.

        Raises:
            ValueError: not fitted, or embeddings of another form than `fit` saw.
        """
        check_is_fitted(self)
        return additive.encode(self._tensor(X, reset=False), torch.from_numpy(self.codebooks_)).numpy()

    def inverse_transform(self, codes: Any, levels: int | None = None) -> npt.NDArray[np.float32]:
        """Reconstructions [N, D] of embeddings.

        Args:
            codes: [N, m] integers, the first m columns of what `transform` gives.
            levels: how many of the columns to use; all unless told.

        Raises:
            ValueError: not fitted, or no codes of this estimator.
        """
        check_is_fitted(self)
        numbers = check_array(codes, dtype=np.int64)
        if numbers.min() < 0 or numbers.max() >= self.codebooks_.shape[1]:
            raise ValueError(
                f"codes are from 0 to {self.codebooks_.shape[1] - 1}; got {numbers.min()} to {numbers.max()}"
            )
        return additive.decode(torch.from_numpy(numbers), torch.from_numpy(self.codebooks_), levels).numpy()

    def _tensor(self, X: Any, **checks: Any) -> Tensor:
        x = validate_data(self, X, dtype=np.float32, **checks)
        return torch.from_numpy(np.require(x, requirements=["C", "W"]))  # torch refuses negative strides

    @property
    def _n_features_out(self) -> int:
        """Columns of the codes, for `get_feature_names_out`."""
        return len(self.codebooks_)

    def __sklearn_tags__(self) -> Any:
        """Codes are bytes, whatever the type of the embeddings."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


def _check_digits(given: npt.NDArray[Any], x: npt.NDArray[np.float32]) -> None:
    """Refuse numbers that float32 moves by more than a hundredth of their spread.

    Raises:
        InputError: it does.
    """
    exact = given.astype(np.float64)
    lost, spread = np.square(exact - x).mean(), exact.var(axis=0).mean()
    if lost > 1e-4 * spread and (exact != exact[0]).any():
        raise InputError(
            f"float32 cannot hold embeddings whose spread is {spread**0.5:.3g} around a mean of up to "
            f"{abs(exact.mean(axis=0)).max():.3g}; subtract the mean first"
        )
