"""Which execution provider runs each node, and where values are copied between device and host."""
