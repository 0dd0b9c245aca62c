"""Codes to rankings: groups of tied images, and the exact metrics of their order."""
