"""The fastest graph for a target: recipes by name, and which of them a machine runs fastest."""
