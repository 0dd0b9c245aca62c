"""Exhibits: what figures show beyond a record's numbers, one JSON a run and part, beside the records."""
