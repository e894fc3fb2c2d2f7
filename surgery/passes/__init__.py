"""One file a pass; the folder is walked, no list is kept."""
