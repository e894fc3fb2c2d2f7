"""Known exporter defects and how an export gets around them, one file each."""
