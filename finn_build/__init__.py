"""QONNX to FINN steps, stitched RTL and its simulation. Never imports torch."""
