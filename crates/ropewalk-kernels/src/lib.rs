//! CPU kernels for language models: packed quantised matrix products, attention, norms, thread pool
