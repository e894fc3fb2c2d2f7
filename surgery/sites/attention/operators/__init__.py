"""Attention and rotations that are one operator already, and what these read."""
