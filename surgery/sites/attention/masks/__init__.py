"""What the masks of attention mean: which keys a query sees, and what is added to the scores by position."""
