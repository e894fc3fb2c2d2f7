"""What half precision asks of a graph: types, norms, residuals, islands of fp32 and their borders."""
