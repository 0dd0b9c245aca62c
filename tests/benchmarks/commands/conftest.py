from tests.benchmarks.made_up import made_up_identities

__all__ = ["made_up_identities"]
