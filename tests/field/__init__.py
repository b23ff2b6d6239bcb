"""Situations from public bug reports."""
