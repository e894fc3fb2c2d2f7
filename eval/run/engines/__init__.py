"""What a variant of a bench can run in, one module an engine: a new one is a new file here and no list is edited."""
