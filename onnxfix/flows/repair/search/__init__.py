"""The few nodes to keep in float that bring an error within a limit."""
