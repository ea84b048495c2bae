"""The quantized network: its spec, training, metrics and figures."""
