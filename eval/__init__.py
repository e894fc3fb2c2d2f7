"""Running models: feeds, runners, comparisons, metrics and the bench."""
