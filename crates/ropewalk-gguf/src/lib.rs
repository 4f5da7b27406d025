//! Read and write GGUF files: memory-mapped tensors, metadata, block formats and reference dequantisation
