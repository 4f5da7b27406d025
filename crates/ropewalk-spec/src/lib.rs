//! Model families as data: configuration mappings, weight-name tables, safetensors and GGUF tensor sources
