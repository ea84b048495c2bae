"""The quantized network: its spec, training, metrics and figures."""

import warnings

# Brevitas says this on every import, about an optional package for large language models.
warnings.filterwarnings("ignore", message="fast_hadamard_transform package not found")
