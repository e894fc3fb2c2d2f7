"""What models are run on: made-up feeds, feed files, labelled rows, and the lengths a graph can take."""
