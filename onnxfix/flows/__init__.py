"""Whole jobs made of the parts: repair (diagnose, change, verify, save) and the demo."""
