"""One training loop for enhancers and every SR method."""
