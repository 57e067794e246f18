"""Faults against load for as long as one likes, and what must hold meanwhile."""
