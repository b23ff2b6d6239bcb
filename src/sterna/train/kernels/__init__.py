"""Triton kernels of BitLinear for GPUs; `sterna.train.kernels.linear` has the layer that is made of them."""
