import pytest
from dpq_example_method import METHOD

from dpq.conformance import conformance_checks


@pytest.mark.parametrize("check", conformance_checks(METHOD))
def test_conformance(check):
    check()
