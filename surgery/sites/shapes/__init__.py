"""Shape arithmetic, sequences and values that the host reads."""
