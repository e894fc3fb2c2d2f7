"""How the bundled demo model was made: its data, its training, and the figures of its record."""
