"""Images decoded once to disk, and read from there block by block."""
