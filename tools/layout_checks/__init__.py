"""What `tools/layouts.py` is made of: tiny checkpoints, environments of the libraries, and what runs in those."""
