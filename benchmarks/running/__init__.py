"""How it is run: a plan, its runs one by one, here or as jobs."""
