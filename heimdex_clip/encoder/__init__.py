"""The encoder: preprocessing, tokenizer and the runtimes, all held to PyTorch by the manifest's parity."""
