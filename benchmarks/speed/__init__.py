"""Speed and memory, side by side: the same work by this library and by others."""
