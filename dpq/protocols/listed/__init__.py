"""Data sets whose splits are published lists: NUS-WIDE and ImageNet."""
