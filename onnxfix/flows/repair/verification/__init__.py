"""How a result is held against its source, on which inputs, and what is said of it."""
