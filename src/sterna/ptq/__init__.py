"""Quantises the matrices of a trained model, one decoder layer at a time (`sterna quantize`)."""
