//! Reads and writes GGUF, the file format of llama.cpp: metadata, a vocabulary, and tensors in
//! ggml's block formats.
//!
//! The crate exists so that a model file can be mapped and used in place: opening costs the header,
//! tensors are slices of the map, and nothing is converted until it is asked for. It reads untrusted
//! files: a damaged or hostile one gives an [`Error`] of one line, never a panic, and never an
//! allocation out of proportion to the file. It does not compute with tensors (that is
//! `ropewalk-kernels`) and does not know model architectures (`ropewalk-spec`).
//!
//! ```
//! use ropewalk_gguf::{Gguf, TensorInfo, TensorType, Writer};
//!
//! // Write a file with one key and one 4-bit matrix of two rows.
//! let mut writer = Writer::new();
//! writer.set("general.architecture", "llama");
//! writer.tensor(TensorInfo::from_shape("output.weight", &[2, 256], TensorType::Q4_K)?)?;
//! let weights: Vec<f32> = (0..512).map(|i| (i as f32 * 0.1).sin()).collect();
//! let mut out = writer.begin(Vec::new())?;
//! out.tensor_f32("output.weight", &weights)?;
//! let bytes = out.finish()?;
//!
//! // Read it back; from disk this is `Gguf::open(path)`.
//! let file = Gguf::from_bytes(bytes)?;
//! assert_eq!(file.metadata().str("general.architecture")?, Some("llama"));
//! let tensor = file.require("output.weight")?;
//! assert_eq!((tensor.info.shape(), tensor.data.len()), (vec![2, 256], 2 * 144));
//! let mut row = [0.0; 256];
//! tensor.row_f32(1, &mut row)?;
//! assert!(row.iter().zip(&weights[256..]).all(|(a, b)| (a - b).abs() < 0.1));
//! # Ok::<(), ropewalk_gguf::Error>(())
//! ```
//!
//! - [`Gguf`] opens one file or all parts of a split model; [`Metadata`] and [`Tensor`] are views
//!   of it; [`Gguf::describe`] prints it.
//! - [`dequantize`] and [`quantize`] convert between `f32` and the blocks of a [`TensorType`].
//! - [`requantize`] makes a file of another [`FileType`] by the rules of `llama-quantize`, with an
//!   [`ImportanceMatrix`] where there is one; [`split`] and [`merge`] change the number of files.
//! - [`Writer`] writes version 3, one tensor at a time, and only whole files.
//!
//! | Type | dequantise | quantise |
//! | --- | --- | --- |
//! | F32, F16, BF16 | yes | yes |
//! | Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 | equal to ggml | equal to ggml |
//! | Q2_K, Q3_K, Q4_K, Q5_K, Q6_K | equal to ggml | equal to ggml |
//! | IQ4_NL, IQ4_XS, MXFP4, NVFP4, TQ1_0, TQ2_0, Q1_0, Q2_0 | equal to ggml | equal to ggml |
//! | IQ1_M, IQ2_S, IQ3_XXS | equal to ggml | equal to ggml |
//! | IQ3_S | equal to ggml | equal to ggml, without its fault after 32 zeros |
//! | IQ1_S, IQ2_XXS, IQ2_XS | equal to ggml | equal to ggml; need importance |
//! | Q8_1, Q8_K, F64, I8, I16, I32 | yes | no |
//! | I64 | no (listed and sized only) | no |
//!
//! # Features
//!
//! | Feature | Default | Meaning |
//! | --- | --- | --- |
//! | `full` | no | every portable feature; there is none to switch on |
//!
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Byte order is little
//! endian; versions 2 and 3 are read.

mod atomic;
mod code_books;
mod cursor;
mod dequant;
mod describe;
mod encode;
mod error;
mod file_type;
mod float;
mod gguf;
mod header;
mod imatrix;
mod metadata;
mod pack;
mod quant;
mod requant;
mod split;
mod sys;
mod tensor;
mod tensor_type;
mod value;
mod writer;

pub use atomic::AtomicFile;
pub use dequant::{dequantize, dequantizer};
pub use error::{Error, Result};
pub use file_type::FileType;
pub use gguf::Gguf;
pub use imatrix::{Importance, ImportanceMatrix};
pub use metadata::Metadata;
pub use quant::{can_quantize, quantize, quantize_with, requires_importance};
pub use requant::{Progress, QuantizePlan, SplitPlan, Summary, Target, merge, requantize, split};
pub use tensor::{Tensor, TensorInfo};
pub use tensor_type::TensorType;
pub use value::{Array, StringArray, Text, Value, ValueType};
pub use writer::{TensorWriter, Writer};
