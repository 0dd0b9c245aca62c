"""Settings of methods chosen by equal searches, on held-out training images alone."""
