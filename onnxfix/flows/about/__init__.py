"""About onnxfix itself: what its findings and passes mean, and what is installed."""
