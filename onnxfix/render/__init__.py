"""Render: a report for people and for other programs, one module a format. Reads nouns only, decides nothing."""
