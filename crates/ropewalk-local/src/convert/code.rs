//! Reading the weights of a tensor and coding their rows.

use std::borrow::Cow;

use ropewalk_gguf::{TensorType, dequantize, quantize};
use ropewalk_spec::{ModelSpec, TensorSource, Weight};

use super::plan::{Part, Target};
use crate::{Error, Result};

/// Values that one thread codes at a time.
const CHUNK: usize = 1 << 16;

/// The bytes of a tensor as the file stores it.
pub(super) fn read<'a>(
    spec: &ModelSpec,
    source: &'a dyn TensorSource,
    target: &Target,
    threads: usize,
) -> Result<Cow<'a, [u8]>> {
    let bytes = |shape: &[usize]| {
        let (columns, rows) = shape
            .split_last()
            .map_or((1, 1), |(c, r)| (*c, r.iter().product()));
        target.ty.row_bytes(columns).map(|row: usize| row * rows)
    };
    let wrong = || Error::Shape {
        name: target.name.clone(),
        found: target.shape.clone(),
        wanted: target
            .parts
            .first()
            .map_or(Vec::new(), |p| p.place.shape.clone()),
    };
    if let [part] = target.parts.as_slice()
        && part.place.permute_heads.is_none()
    {
        let weight = weight(spec, source, part)?;
        if weight.ty == target.ty {
            return Ok(weight.data);
        }
    }
    let mut out = vec![0; bytes(&target.shape).ok_or_else(wrong)?];
    for part in &target.parts {
        let weight = weight(spec, source, part)?;
        let rows = part.place.rows.len();
        // Rows of the place: of the matrix, or whole matrices in a stack of them.
        let unit = bytes(&part.place.shape).filter(|b| rows > 0 && b % rows == 0);
        let unit = unit.ok_or_else(wrong)? / rows;
        let range = part.place.rows.start * unit..part.place.rows.end * unit;
        let slice = out.get_mut(range).ok_or_else(wrong)?;
        let data = arrange(&weight, part);
        code(target, part, weight.ty, &data, slice, threads)?;
    }
    Ok(out.into())
}

fn weight<'a>(spec: &ModelSpec, source: &'a dyn TensorSource, part: &Part) -> Result<Weight<'a>> {
    let found = match (part.expert, part.layer) {
        (Some(expert), Some(layer)) => spec.read_expert(source, part.role, layer, expert)?,
        _ => spec.read(source, part.role, part.layer)?,
    };
    found.ok_or_else(|| Error::MissingTensor {
        name: part.place.name.clone(),
    })
}

/// Puts the rows into the order of the file.
fn arrange<'w>(weight: &'w Weight<'_>, part: &Part) -> Cow<'w, [u8]> {
    let rows = part.place.rows.len();
    if part.place.permute_heads.is_none() || rows == 0 {
        return Cow::Borrowed(&weight.data);
    }
    let row = weight.data.len() / rows;
    let mut out = vec![0; weight.data.len()];
    for (index, from) in weight.data.chunks_exact(row).enumerate() {
        let at = (part.place.source_row(index) - part.place.rows.start) * row;
        if let Some(to) = out.get_mut(at..at + row) {
            to.copy_from_slice(from);
        }
    }
    out.into()
}

/// How many rows of a size there are, `None` where they are not whole.
fn whole(bytes: usize, row: usize) -> Option<usize> {
    bytes.is_multiple_of(row).then(|| bytes / row)
}

/// Codes `data` of type `from` into `out`, several rows at once.
fn code(
    target: &Target,
    part: &Part,
    from: TensorType,
    data: &[u8],
    out: &mut [u8],
    threads: usize,
) -> Result<()> {
    let columns = part.place.shape.last().copied().unwrap_or(1).max(1);
    let failed = |source: ropewalk_gguf::Error| Error::Convert {
        what: format!("tensor `{}`", target.name),
        source: Box::new(source),
    };
    let sizes = from.row_bytes(columns).zip(target.ty.row_bytes(columns));
    let Some((row_in, row_out)) =
        sizes.filter(|(i, o)| whole(data.len(), *i) == whole(out.len(), *o))
    else {
        return Err(Error::Shape {
            name: target.name.clone(),
            found: vec![data.len()],
            wanted: vec![out.len()],
        });
    };
    let rows = (CHUNK / columns).max(1);
    let jobs: Vec<_> = data
        .chunks(rows * row_in)
        .zip(out.chunks_mut(rows * row_out))
        .collect();
    let share = jobs.len().div_ceil(threads).max(1);
    let mut jobs = jobs.into_iter();
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        loop {
            let mine: Vec<_> = jobs.by_ref().take(share).collect();
            if mine.is_empty() {
                break;
            }
            let work = move || {
                let mut values = vec![0.0; rows * columns];
                for (from_bytes, to_bytes) in mine {
                    let count = from_bytes.len() / row_in * columns;
                    let values = values.get_mut(..count).unwrap_or_default();
                    dequantize(from, from_bytes, values)?;
                    to_bytes.copy_from_slice(&quantize(target.ty, values)?);
                }
                Ok(())
            };
            if jobs.len() == 0 && running.is_empty() {
                return work();
            }
            running.push(scope.spawn(work));
        }
        for thread in running {
            match thread.join() {
                Ok(done) => done?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    })
    .map_err(failed)
}
