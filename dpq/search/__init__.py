"""Search among coded images: an index, its file, and what is found."""
