"""Solo Connection and the methods it is compared with: data, adapters, training, decoding."""
