"""The master: a core without I/O, a store, and a thin gRPC shell around both."""
