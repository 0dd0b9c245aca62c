"""A folder of one's own images as a data set."""
