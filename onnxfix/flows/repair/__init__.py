"""The job of repair: attempts, verification, search."""
