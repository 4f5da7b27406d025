//! Metadata to bytes, the counterpart of `header.rs`.

use crate::value::{Array, Value};

/// Appends a string: 64-bit length, then bytes.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text);
}

/// Appends the type of a value and the value.
pub(crate) fn put_value(out: &mut Vec<u8>, value: &Value) {
    out.extend_from_slice(&value.ty().to_u32().to_le_bytes());
    match value {
        Value::U8(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::I8(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::U16(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::I16(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::U32(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::I32(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::F32(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::U64(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::I64(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::F64(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::Bool(x) => out.push(u8::from(*x)),
        Value::String(text) => put_text(out, text.as_bytes()),
        Value::Array(array) => put_array(out, array),
    }
}

/// Appends element type, count and elements.
fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend_from_slice(&array.ty().to_u32().to_le_bytes());
    out.extend_from_slice(&(array.len() as u64).to_le_bytes());
    match array {
        Array::U8(xs) => out.extend_from_slice(xs),
        Array::I8(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::U16(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::I16(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::U32(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::I32(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::F32(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::U64(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::I64(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::F64(xs) => out.extend(xs.iter().flat_map(|x| x.to_le_bytes())),
        Array::Bool(xs) => out.extend(xs.iter().map(|&x| u8::from(x))),
        Array::String(strings) => strings.iter().for_each(|text| put_text(out, text)),
        Array::Array(arrays) => arrays.iter().for_each(|array| put_array(out, array)),
    }
}
