"""How far each operator is from the machine's peak: bytes moved, fused regions, measured peaks."""
