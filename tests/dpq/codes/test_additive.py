import pytest

from dpq import InputError
from dpq.codes.additive import levels_for, prefix_levels


def test_a_code_has_one_level_per_codeword_index():
    assert levels_for(32, 256) == 4
    assert levels_for(12, 16) == 3
    assert prefix_levels(8, trained=4, codebook_size=16) == 2


@pytest.mark.parametrize(
    ("bits", "size", "words"),
    [
        (12, 256, "multiples of 8 bits"),
        (0, 16, "multiples of 4"),
        (20, 16, "exceed the 16 bits"),
        (8, 512, "power of two from 2 to 256"),
        (8, 48, "power of two"),
        (8, 1, "power of two"),
    ],
)
def test_impossible_lengths_and_codebooks_are_refused(bits, size, words):
    with pytest.raises(InputError, match=words):
        prefix_levels(bits, trained=4, codebook_size=size)
