"""Real exports of transformers with random weights, that placement, repair and conversion are tried on."""
