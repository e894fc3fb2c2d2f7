"""What a repair goes on from, its attempts, and what is kept after one that erred."""
