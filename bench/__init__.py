"""Micro-benchmarks of the kernels; installed as `medkern.bench`."""
