"""The functions that are measured: the same answers from every runtime."""
