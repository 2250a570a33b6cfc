"""The native decision kernel: C++ computes, Cython calls; the modules above explain."""
