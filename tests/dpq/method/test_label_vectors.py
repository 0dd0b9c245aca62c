import numpy as np
import pytest
import torch

from dpq import InputError
from dpq.method import label_vectors
from dpq.method.label_vectors import orthonormal_label_vectors, read_label_vectors


def test_orthonormal_vectors_are_orthonormal_and_fixed():
    vectors = orthonormal_label_vectors(10, 300)
    assert torch.allclose(vectors @ vectors.T, torch.eye(10), atol=1e-5)
    assert torch.equal(vectors, orthonormal_label_vectors(10, 300))


def test_a_file_is_read_as_it_stands(tmp_path):
    expected = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.savetxt(tmp_path / "v.txt", expected)
    assert np.allclose(read_label_vectors(tmp_path / "v.txt", 3, 4).numpy(), expected)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1 2 3\n4 5 6\n", "holds 2 vectors of 3 numbers; expected 3 rows"),
        ("1 2\n3 4\n5 6\n", "holds 3 vectors of 2 numbers"),
        ("1 2 3\n4 5\n", "cannot read label vectors"),
        ("a b c\n", "cannot read label vectors"),
        ("1 2 3\n0 0 0\n4 5 6\n", "a row of zeros"),
        ("1 2 3\nnan 0 0\n4 5 6\n", "not finite"),
        ("1 2 3\n1e39 0 0\n4 5 6\n", "not finite"),
        ("", "holds 0 vectors"),
        ("\udcff 2 3\n", "cannot read label vectors"),
    ],
)
def test_unusable_files_are_refused(tmp_path, content, words):
    (tmp_path / "v.txt").write_text(content, errors="surrogateescape")
    with pytest.raises(InputError, match=words):
        read_label_vectors(tmp_path / "v.txt", 3, 3)


def test_missing_file_and_too_many_classes_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read label vectors"):
        read_label_vectors(tmp_path / "v.txt", 3, 3)
    with pytest.raises(InputError, match="5 classes do not fit 4"):
        orthonormal_label_vectors(5, 4)


def test_no_more_than_the_bound_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(label_vectors, "MOST_BYTES", 10)
    (tmp_path / "v.txt").write_text("1 2 3\n4 5 6\n")
    with pytest.raises(InputError, match="more than 10 bytes"):
        read_label_vectors(tmp_path / "v.txt", 2, 3)
