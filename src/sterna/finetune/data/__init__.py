"""Examples to fine-tune on: from rows of files to packed rows of tokens."""
