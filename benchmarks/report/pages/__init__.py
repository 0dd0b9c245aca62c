"""The pages under `results/`, made from records alone."""
