"""Trained network to QONNX, integer parameters and golden vectors, proven equal."""
