"""What a run leaves: its record and its raw result; and the numbers that papers report."""
