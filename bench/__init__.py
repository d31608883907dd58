"""Benchmarks: medkern's kernels and networks against this machine's peak and other libraries.

Installed as `medkern.bench`. The files import each other relatively, since a peer's
process loads them without medkern.
"""
