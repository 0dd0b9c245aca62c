"""Networks whose embedding's signs are the code, as additive codebooks of +1 and -1."""
