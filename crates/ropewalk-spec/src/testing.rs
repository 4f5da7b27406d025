//! Seeded weights and model files for tests and benchmarks.
