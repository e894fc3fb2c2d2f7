"""Changing graphs: sites find structure, passes edit through the editor, recipes put passes in order."""
