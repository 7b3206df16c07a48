"""Runs against other software, and their results. Not part of the library."""
