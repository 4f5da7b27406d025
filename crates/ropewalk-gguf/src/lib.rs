//! Read and write GGUF files: memory-mapped tensors, metadata, block formats and reference dequantisation
mod cursor;
mod dequant;
mod error;
mod float;
mod gguf;
mod header;
mod metadata;
mod pack;
mod split;
mod sys;
mod tensor;
mod tensor_type;
mod value;

pub use dequant::{dequantize, dequantizer};
pub use error::{Error, Result};
pub use gguf::Gguf;
pub use metadata::Metadata;
pub use tensor::{Tensor, TensorInfo};
pub use tensor_type::TensorType;
pub use value::{Array, StringArray, Text, Value, ValueType};
