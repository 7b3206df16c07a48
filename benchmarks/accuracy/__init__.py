"""Learning per minute: the same wall time for this library and for nnU-Net."""
