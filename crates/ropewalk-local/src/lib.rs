//! Local language models on the CPU: one decoder from a spec, KV cache, samplers, generation
