//! Read and write GGUF files: memory-mapped tensors, metadata, block formats and reference dequantisation
mod atomic;
mod cursor;
mod dequant;
mod encode;
mod error;
mod float;
mod gguf;
mod header;
mod metadata;
mod pack;
mod quant;
mod split;
mod sys;
mod tensor;
mod tensor_type;
mod value;
mod writer;

pub use atomic::AtomicFile;
pub use dequant::{dequantize, dequantizer};
pub use error::{Error, Result};
pub use gguf::Gguf;
pub use metadata::Metadata;
pub use quant::{can_quantize, quantize};
pub use tensor::{Tensor, TensorInfo};
pub use tensor_type::TensorType;
pub use value::{Array, StringArray, Text, Value, ValueType};
pub use writer::{TensorWriter, Writer};
