"""One module an execution provider: its `PROVIDER` says all there is to know of it. The folder is walked."""
