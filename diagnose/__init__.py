"""Reading graphs: placement forecast, rules and the report of findings."""
