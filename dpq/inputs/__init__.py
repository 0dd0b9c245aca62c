"""Images, labels and numbers in whatever form a caller has them."""
