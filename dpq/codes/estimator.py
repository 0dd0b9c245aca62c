"""Codes of every length for embeddings that are there already, in scikit-learn's manner."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from dpq.codes import additive
from dpq.errors import InputError, one_line
from dpq.inputs.values import as_array, whole_number


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
        size = additive.check_codebook_size(self.codebook_size)
        levels, iterations = whole_number("levels", self.levels), whole_number("iterations", self.iterations)
        try:
            seed = int(check_random_state(self.random_state).randint(2**30))  # one more for each level
        except ValueError as error:
            raise InputError(
                f"random_state cannot be {self.random_state!r}: {one_line(error)}; give a whole number, or None"
            ) from error
        x = self._checked(X, ensure_min_samples=size)
        learned = additive.residual_kmeans(_in_float32(x, x), levels, size, seed, iterations=iterations)
        self.codebooks_: npt.NDArray[np.float32] = learned.numpy()
        return self

    def transform(self, X: Any) -> npt.NDArray[np.uint8]:
        """Codes [N, M] of embeddings [N, D]; columns are levels, so `codes[:, :m]` are the codes of m levels.

        Raises:
            ValueError: not fitted, embeddings of another form than `fit` saw, or numbers of which float32 has no digits
                left beside the spread of the codewords.
        """
        check_is_fitted(self)
        x = _in_float32(self._checked(X, reset=False), self.codebooks_[0])
        return additive.encode(x, torch.from_numpy(self.codebooks_)).numpy()

    def inverse_transform(self, codes: Any, levels: int | None = None) -> npt.NDArray[np.float32]:
        """Reconstructions [N, D] of embeddings.

        Args:
            codes: [N, m] integers, the first m columns of what `transform` gives.
            levels: how many of the columns to use; all unless told.

        Raises:
            ValueError: not fitted, or no codes of this estimator.
        """
        check_is_fitted(self)
        return additive.decode(codes, torch.from_numpy(self.codebooks_), levels).numpy()

    def _checked(self, X: Any, **checks: Any) -> npt.NDArray[Any]:
        """Embeddings [N, D] float, in the type they came in."""
        plain = hasattr(X, "columns") or hasattr(X, "toarray")  # scikit-learn reads names, and has words of its own
        x = validate_data(self, X if plain else _numbers(X), dtype=[np.float64, np.float32], **checks)
        return np.asarray(x)

    @property
    def _n_features_out(self) -> int:
        """Columns of the codes, for `get_feature_names_out`."""
        return len(self.codebooks_)

    def __sklearn_tags__(self) -> Any:
        """Codes are bytes, whatever the type of the embeddings."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


def _numbers(X: Any) -> Any:
    """What has the layout of an array, as an array; all else is left to scikit-learn."""
    texts = getattr(getattr(X, "dtype", None), "kind", "") in ("U", "S")
    return as_array(X, "X") if texts or isinstance(X, np.ma.MaskedArray | Tensor | list | tuple) else X


def _in_float32(x: npt.NDArray[Any], around: npt.NDArray[Any]) -> Tensor:
    """Embeddings [N, D] float32, if that moves each by less than a hundredth of the spread of `around` ([n, D]).

    Raises:
        InputError: it moves one by more.
    """
    with np.errstate(over="ignore"):
        short = x.astype(np.float32)
    exact, points = x.astype(np.float64), around.astype(np.float64)
    lost, spread = np.square(exact - short).mean(axis=1).max(), points.var(axis=0).mean()
    if not lost <= 1e-4 * spread and (points != points[0]).any():
        raise InputError(
            f"float32 cannot hold embeddings whose spread is {spread**0.5:.3g} around a mean of up to "
            f"{abs(exact.mean(axis=0)).max():.3g}; subtract the mean first"
        )
    return torch.from_numpy(np.require(short, requirements=["C", "W"]))  # torch refuses negative strides
