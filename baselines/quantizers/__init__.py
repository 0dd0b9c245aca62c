"""Quantizers that are fitted to given embeddings: frozen features, or those of a trained DPQ."""
