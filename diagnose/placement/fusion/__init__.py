"""What fuses at load time and what does not: quantized units of QDQ graphs, and the reasons a unit stays open."""
