"""Exhibits: small files beside the records, from which figures and tables are drawn without codes or images."""

PARTS = ("ties", "projection", "gallery")
