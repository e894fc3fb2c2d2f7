"""Reading: what the choice of a kernel depends on, of each operator of attention."""
