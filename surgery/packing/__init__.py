"""What passes write for a row of real tokens: where tokens lie in it, blocks of a band, one text after the other."""
