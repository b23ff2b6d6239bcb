import os

# PyTorch reads it when it is loaded: large tensors then lie on huge pages, which Linux clears and maps faster.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
