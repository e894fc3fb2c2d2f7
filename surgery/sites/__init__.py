"""Read-only structural analyses that rules and passes share, so that they cannot disagree."""
