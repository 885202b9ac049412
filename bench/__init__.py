"""The benchmarks. They use the public API only."""
