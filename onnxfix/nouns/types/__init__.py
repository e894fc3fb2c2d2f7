"""Element types of every value: schemas, type strings, inference."""
