"""Broken models by the thousand: mutations of small real graphs, and what every command answers to them."""
