"""Sizes of all axes of a graph at stated sizes of its inputs, what does not fit at some, and what the file says of it."""
