"""Images and labels in whatever form a caller has them."""
