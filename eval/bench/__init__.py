"""The bench: each variant in a process of its own, in turns with the others, timed, compared, resumed."""
