"""Studies that train, quantise and measure models of their own (`sterna study`)."""
