"""diagnose --against: a quantized model beside its float original, layer by layer."""
