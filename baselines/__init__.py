"""Baselines on the same parts as DPQ, one file per method."""
