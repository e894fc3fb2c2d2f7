"""The nouns: what every part of onnxfix speaks of. They import nothing of ours but each other."""
