"""Additive codebooks: how they are learned, searched for codes, and scored."""
