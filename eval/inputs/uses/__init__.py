"""What the first nodes that read an input show of it: sizes, lengths, settings, numbers, the size of its numbers."""
