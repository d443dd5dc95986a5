"""Kernels in C++ for CPUs with AVX2 or AVX-512, compiled when the package is installed."""
