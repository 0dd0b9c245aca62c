"""Codes that were made elsewhere, by any program: the lists of images they are of, and their evaluation."""
