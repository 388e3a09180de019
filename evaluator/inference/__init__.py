"""The stages infer and ready: from a gated model and sealed images to packed masks."""
