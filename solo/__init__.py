"""Solo Connection and the methods it is compared with: data, adapters, training, decoding."""

__version__ = "0.1.0"
