//! One tensor from its stored type to another, on several threads.

use std::sync::Mutex;

use crate::{Error, Result, Tensor, TensorType, dequantize, quantize_with};

/// Values a thread converts at a time.
const CHUNK: usize = 1 << 15;

/// What all threads of a conversion share.
struct Job<'a> {
    tensor: Tensor<'a>,
    ty: TensorType,
    importance: Option<&'a [f32]>,
    /// Rows of one matrix of a stack; each has its own importance.
    rows: usize,
}

/// Codes `tensor` as `ty`. `importance` holds the columns of each matrix of a stack.
pub(super) fn convert(
    tensor: Tensor<'_>,
    ty: TensorType,
    importance: Option<&[f32]>,
    threads: usize,
) -> Result<Vec<u8>> {
    let info = tensor.info;
    let columns = info.cols();
    let row_bytes = ty
        .row_bytes(columns)
        .ok_or_else(|| Error::length("values in whole blocks", 0, columns))?;
    let mut out = vec![0; row_bytes * info.rows()];
    if out.is_empty() {
        return Ok(out);
    }
    let job = Job {
        tensor,
        ty,
        importance,
        rows: info.dims.get(1).copied().unwrap_or(1),
    };
    let rows_at_once = (CHUNK / columns).clamp(1, job.rows);
    // Chunks end where a matrix of a stack ends.
    let mut chunks = Vec::new();
    for (matrix, out) in out.chunks_mut(row_bytes * job.rows).enumerate() {
        for (i, out) in out.chunks_mut(row_bytes * rows_at_once).enumerate() {
            chunks.push((matrix, matrix * job.rows + i * rows_at_once, out));
        }
    }
    let threads = threads.clamp(1, chunks.len());
    let queue = Mutex::new(chunks.into_iter());
    let failure = Mutex::new(None);
    let work = || {
        loop {
            let next = queue.lock().map_or(None, |mut queue| queue.next());
            let Some((matrix, row, out)) = next else {
                return;
            };
            if let Err(error) = job.chunk(matrix, row, out.len() / row_bytes, out)
                && let Ok(mut failure) = failure.lock()
            {
                failure.get_or_insert(error);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    match failure.into_inner() {
        Ok(None) => Ok(out),
        Ok(Some(error)) => Err(error),
        Err(_) => Err(Error::write(&info.name, "a thread ended early")),
    }
}

impl Job<'_> {
    fn chunk(&self, matrix: usize, row: usize, rows: usize, out: &mut [u8]) -> Result<()> {
        let info = self.tensor.info;
        let columns = info.cols();
        let row_bytes = info.ty.row_bytes(columns).unwrap_or_default();
        let source = self
            .tensor
            .data
            .get(row * row_bytes..(row + rows) * row_bytes);
        let mut values = vec![0.0; rows * columns];
        dequantize(info.ty, source.unwrap_or_default(), &mut values)?;
        let weights = self
            .importance
            .and_then(|all| all.get(matrix * columns..(matrix + 1) * columns));
        let coded = quantize_with(self.ty, &values, columns, weights).map_err(|e| match e {
            // Counted from the start of the tensor.
            Error::Range {
                ty,
                index,
                value,
                hint,
            } => Error::Range {
                ty,
                index: index + row * columns,
                value,
                hint,
            },
            other => other,
        })?;
        out.copy_from_slice(&coded);
        Ok(())
    }
}
