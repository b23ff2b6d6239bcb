"""What a model takes on a machine: memory, speed and price, from shapes and rooflines."""
