"""The codec: forms into bits and back, and the ``.ret`` file."""
