"""The opening of a file: what must hold before anything else looks at it, and forms that are made plain."""
