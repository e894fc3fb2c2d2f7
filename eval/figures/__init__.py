"""What a bench says in numbers: metrics, latency with intervals, the row of a variant and its verdict."""
