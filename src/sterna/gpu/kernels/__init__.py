"""Triton kernels of the engine: integer sums are exact, floats are added in float32.

They run in Triton's interpreter, too (`TRITON_INTERPRET=1`, set before Triton is imported), which computes on the CPU.
"""
