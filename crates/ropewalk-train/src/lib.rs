//! Training language models from scratch: differentiable ops, AdamW, deterministic batches, exact resume, export
