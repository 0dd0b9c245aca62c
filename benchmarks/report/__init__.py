"""Records to numbers, tables, claims and verdicts."""
