"""Files that nobody vouches for: written whole, read within bounds, checked against a type."""
