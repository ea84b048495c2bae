"""A quantized network that somebody made elsewhere, as an ONNX file, to integers: the second front end."""
