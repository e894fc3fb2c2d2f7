"""JSON Schemas of the documents that commands print: one file a document, named after its `schema` and version."""
