use std::fmt::Write as _;

use crate::value::{Array, Text, Value};
use crate::{Gguf, TensorType};

/// Elements of an array and bytes of a string that are shown.
const SHOWN_ELEMENTS: usize = 6;
const SHOWN_BYTES: usize = 60;

impl Gguf {
    /// Returns a text for people: the metadata with long values cut, one line per tensor with its
    /// row-major shape, type and size, and totals per type.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut out = String::new();
        let parts = match self.n_parts() {
            1 => String::new(),
            n => format!(", {n} parts"),
        };
        // Writing to a string cannot fail.
        _ = writeln!(
            out,
            "{}: GGUF version {}, {}{parts}, alignment {}",
            self.shown_path(),
            self.version(),
            size(self.file_bytes()),
            self.alignment(),
        );
        _ = writeln!(out, "\nMetadata ({} keys)", self.metadata().len());
        let width = self
            .metadata()
            .iter()
            .map(|(key, _)| key.len())
            .max()
            .unwrap_or(0)
            .min(48);
        for (key, value) in self.metadata() {
            _ = writeln!(
                out,
                "  {:width$}  {}",
                key.escape_debug().to_string(),
                shown(value)
            );
        }
        self.describe_tensors(&mut out);
        out
    }

    fn describe_tensors(&self, out: &mut String) {
        _ = writeln!(out, "\nTensors ({})", self.tensors().len());
        let width = self
            .tensors()
            .iter()
            .map(|t| t.name.len())
            .max()
            .unwrap_or(0)
            .min(48);
        for info in self.tensors() {
            let shape = format!("{:?}", info.shape());
            _ = writeln!(
                out,
                "  {:width$}  {shape:18}  {:7}  {:>10}",
                info.name.escape_debug().to_string(),
                info.ty,
                size(info.n_bytes() as u64),
            );
        }
        if self.tensors().is_empty() {
            return;
        }
        _ = writeln!(out, "\nTotals");
        let mut line = |name: &str, ty: Option<TensorType>| {
            let of = || {
                self.tensors()
                    .iter()
                    .filter(|t| ty.is_none_or(|ty| t.ty == ty))
            };
            let values: u64 = of().map(|t| t.n_elements() as u64).sum();
            let bytes: u64 = of().map(|t| t.n_bytes() as u64).sum();
            let bits = if values == 0 {
                0.0
            } else {
                8.0 * bytes as f64 / values as f64
            };
            if of().next().is_some() {
                _ = writeln!(
                    out,
                    "  {name:7}  {:4} tensors  {values:>14} values  {:>10}  {bits:6.3} bits per value",
                    of().count(),
                    size(bytes),
                );
            }
        };
        for &ty in TensorType::ALL {
            line(ty.name(), Some(ty));
        }
        line("all", None);
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::U8(x) => x.to_string(),
        Value::I8(x) => x.to_string(),
        Value::U16(x) => x.to_string(),
        Value::I16(x) => x.to_string(),
        Value::U32(x) => x.to_string(),
        Value::I32(x) => x.to_string(),
        Value::F32(x) => format!("{x:?}"),
        Value::U64(x) => x.to_string(),
        Value::I64(x) => x.to_string(),
        Value::F64(x) => format!("{x:?}"),
        Value::Bool(x) => x.to_string(),
        Value::String(text) => shown_text(text.as_bytes()),
        Value::Array(array) => shown_array(array),
    }
}

fn shown_text(bytes: &[u8]) -> String {
    let cut = bytes.len().min(SHOWN_BYTES);
    // A character that the cut splits is left out.
    let head = match std::str::from_utf8(&bytes[..cut]) {
        Err(e) if e.error_len().is_none() && cut < bytes.len() => &bytes[..e.valid_up_to()],
        _ => &bytes[..cut],
    };
    let text = String::from_utf8_lossy(head);
    let more = if cut < bytes.len() {
        format!(" ({} bytes)", bytes.len())
    } else {
        String::new()
    };
    format!(
        "\"{}{}\"{more}",
        text.escape_debug(),
        if more.is_empty() { "" } else { "..." }
    )
}

fn shown_array(array: &Array) -> String {
    fn list<T>(items: impl Iterator<Item = T>, show: impl Fn(T) -> String) -> Vec<String> {
        items.take(SHOWN_ELEMENTS).map(show).collect()
    }
    // The debug form writes very large and very small numbers with an exponent.
    fn plain<T: std::fmt::Debug>(items: &[T]) -> Vec<String> {
        list(items.iter(), |x| format!("{x:?}"))
    }
    let mut items = match array {
        Array::U8(x) => plain(x),
        Array::I8(x) => plain(x),
        Array::U16(x) => plain(x),
        Array::I16(x) => plain(x),
        Array::U32(x) => plain(x),
        Array::I32(x) => plain(x),
        Array::F32(x) => plain(x),
        Array::U64(x) => plain(x),
        Array::I64(x) => plain(x),
        Array::F64(x) => plain(x),
        Array::Bool(x) => plain(x),
        Array::String(x) => list(x.iter(), shown_text),
        Array::Array(x) => list(x.iter(), |x| format!("array of {} {}", x.len(), x.ty())),
    };
    if array.len() > SHOWN_ELEMENTS {
        items.push("...".to_owned());
    }
    format!("[{}] ({} {})", items.join(", "), array.len(), array.ty())
}

/// Shows bytes in binary units.
fn size(bytes: u64) -> String {
    let mut amount = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, next);
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{amount:.2} {unit}")
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&String::from_utf8_lossy(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(shown_text(b"a\n"), r#""a\n""#);
        let cut = shown_text("⚓".repeat(30).as_bytes());
        assert_eq!(cut, format!("\"{}...\" (90 bytes)", "⚓".repeat(20)));
        let cut = shown_text(format!("x{}", "⚓".repeat(30)).as_bytes());
        assert_eq!(cut, format!("\"x{}...\" (91 bytes)", "⚓".repeat(19)));
        assert_eq!(shown_array(&Array::I32(vec![1, 2])), "[1, 2] (2 i32)");
        assert_eq!(
            shown_array(&Array::U8(vec![0; 9])),
            "[0, 0, 0, 0, 0, 0, ...] (9 u8)"
        );
        assert_eq!(
            (size(1023), size(1536)),
            ("1023 B".to_owned(), "1.50 KiB".to_owned())
        );
    }
}
