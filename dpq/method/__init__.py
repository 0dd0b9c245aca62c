"""Deep Progressive Quantization itself: objective, quantizer, settings, and the public model."""
