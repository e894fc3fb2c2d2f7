"""A difference for people, one module a format: text, a page, a comment."""
