"""What every deep method shares: a backbone, a training loop, and the methods fitted to embeddings."""
