"""What a source answers: on which inputs, within which memory, and what of it is compared."""
