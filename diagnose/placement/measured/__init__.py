"""Placement asked of a real session or of OpenVINO in a process of its own, and compared with the forecast."""
