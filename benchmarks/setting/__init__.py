"""What is run: experiments, methods, ablations."""
