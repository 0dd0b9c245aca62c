"""Networks and codebooks that are trained together."""
