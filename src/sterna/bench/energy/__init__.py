"""Energy: what arithmetic would take, what moving bytes would take, and what a sensor measures, each apart."""
