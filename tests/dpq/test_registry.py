"""What a package with a method of its own imports keeps its name and place."""

import pytest

import dpq.registry
from dpq.learning import entry


@pytest.mark.parametrize("name", dpq.registry.__all__)
def test_each_name_is_offered(name):
    assert getattr(dpq.registry, name) is not None


def test_an_entry_is_one_thing_wherever_it_is_imported_from():
    assert dpq.registry.MethodEntry is entry.MethodEntry
