"""Views of values: what layout operators make of one, whichever way their shapes are computed."""
