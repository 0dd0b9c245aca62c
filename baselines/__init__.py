"""The methods beside DPQ, on the same parts, one file per method."""
