"""The stream of tokens: what is computed of each token alone, so that padding need not be computed at all."""
