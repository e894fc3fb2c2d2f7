"""Difference: what changed between two models, module by module; one module a part of the answer."""
