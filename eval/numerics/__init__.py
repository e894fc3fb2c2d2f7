"""How far two models differ and why: comparison, emulated half precision, int8 saturation, layers side by side."""
