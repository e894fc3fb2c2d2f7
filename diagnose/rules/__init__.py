"""One file a rule; the folder is walked, no list is kept."""
