"""Whether the library gives what nnU-Net, MONAI and others give, in numbers."""
