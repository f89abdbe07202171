"""The fused training path: NF4 base, LoRA inside the products, backward passes by hand."""
