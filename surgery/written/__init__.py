"""What passes write: places of real tokens, blocks of a band, one text after the other, and what is added to scores."""
