"""Speed and memory of the parts, on generated data, each beside the obvious or the usual way to do the same.

A benchmark is a module with one function `measure(options) -> Report` and a line in `benchmarks.bench.__main__`. Ratios
come first: both sides are timed in turns in one process, so that what slows the machine slows both.
"""
