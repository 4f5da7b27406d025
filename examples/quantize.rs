//! Quantise a GGUF model file, as llama-quantize does.
//!
//! ```sh
//! cargo run --release --example quantize
//! cargo run --release --example quantize -- model-f16.gguf model-q4.gguf Q4_K_M --imatrix imatrix.gguf
//! ```
//!
//! Without a file it quantises the model that ships with the repository to several types in a temporary folder and
//! prints a table: size, bits per weight, root mean square error of the weights relative to their own, and what the
//! model then says. That model is Q8_0 already, so its errors come on top of those of Q8_0. Progress is on standard
//! error.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use ropewalk::core::{ChatModel, ChatRequest, Options};
use ropewalk::gguf::{
    FileType, Gguf, ImportanceMatrix, Progress, QuantizePlan, TensorType, requantize,
};
use ropewalk::local::LocalModel;
use ropewalk_examples::{Args, TINY, models, out};

const USAGE: &str = "\
usage: quantize [IN.GGUF OUT.GGUF TYPE] [options]
  --imatrix FILE                weight errors by an importance matrix
  --threads N                   threads that compute
  --allow-requantize            start from tensors that are quantised already
  --pure                        give every matrix the same type
  --fine                        search scales longer where there is no importance
  --leave-output-tensor         keep output.weight as it is
  --output-tensor-type TYPE     type of output.weight
  --token-embedding-type TYPE   type of the token embeddings
  --tensor-type PATTERN=TYPE    type of tensors whose name contains PATTERN; may be repeated
  --keep-split                  write as many parts as there are
  --dry-run                     print the types alone";

/// What the table asks the model.
const QUESTION: &str = "How much is a ticket to London?";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(example)
}

fn example() -> Result<()> {
    let args = Args::parse(USAGE)?;
    let Some(input) = args.free(0) else {
        return table();
    };
    let (Some(output), Some(name)) = (args.free(1), args.free(2)) else {
        bail!("name the input, the output and a type, such as Q4_K_M");
    };
    let input = Gguf::open(input)?;
    let plan = plan(&args, name)?;
    if args.has("--dry-run") {
        for target in plan.types(&input)? {
            out!("{:<48} {}\n", target.name, target.ty)?;
        }
        return Ok(());
    }
    let started = std::time::Instant::now();
    let summary = requantize(&input, output, &plan, &mut show)?;
    for target in &summary.fallbacks {
        let rows = "its rows are not whole blocks";
        out!("{} is {}: {rows}\n", target.name, target.ty)?;
    }
    for (ty, count) in &summary.types {
        out!("{count:>5} tensors {ty}\n")?;
    }
    out!(
        "{:.1} MB to {:.1} MB, {:.2} bits per value, {:.1} s\n",
        summary.source_bytes as f64 / 1e6,
        summary.bytes as f64 / 1e6,
        summary.bits_per_value(),
        started.elapsed().as_secs_f64()
    )?;
    Ok(())
}

fn plan(args: &Args, name: &str) -> Result<QuantizePlan> {
    let mut plan = match name {
        "COPY" => QuantizePlan::copy(),
        name => QuantizePlan::new(name.parse()?),
    };
    plan = plan
        .with_requantize(args.has("--allow-requantize"))
        .with_pure(args.has("--pure"))
        .with_fine_search(args.has("--fine"))
        .with_output_kept(args.has("--leave-output-tensor"))
        .with_split_kept(args.has("--keep-split"));
    if let Some(threads) = args.optional("--threads")? {
        plan = plan.with_threads(threads);
    }
    if let Some(ty) = args.optional::<TensorType>("--output-tensor-type")? {
        plan = plan.with_output_type(ty);
    }
    if let Some(ty) = args.optional::<TensorType>("--token-embedding-type")? {
        plan = plan.with_embedding_type(ty);
    }
    for option in args.all("--tensor-type") {
        let (pattern, ty) = option
            .rsplit_once('=')
            .with_context(|| format!("`{option}` is not PATTERN=TYPE"))?;
        plan = plan.with_tensor_type(pattern, ty.parse()?);
    }
    if let Some(path) = args.text("--imatrix") {
        plan = plan.with_importance(ImportanceMatrix::open(path)?, path);
    }
    Ok(plan)
}

/// Shows progress where somebody looks at it.
fn show(progress: Progress<'_>) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let percent = 100 * progress.done / progress.total.max(1);
        let end = if progress.done == progress.total {
            "\r\x1b[K"
        } else {
            ""
        };
        let _ = write!(err, "\r\x1b[K{percent:>3} % {}{end}", progress.tensor);
        let _ = err.flush();
    }
}

/// Quantises the shipped model to several types.
fn table() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("ropewalk-quantize-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let result = rows(&dir);
    std::fs::remove_dir_all(&dir)?;
    result
}

fn rows(dir: &Path) -> Result<()> {
    let source = Gguf::from_static(TINY)?;
    out!("{QUESTION}\n\n  type        MB   bits    error  answer\n")?;
    for ty in [
        FileType::Q8_0,
        FileType::Q6_K,
        FileType::Q5_K_M,
        FileType::Q4_K_M,
        FileType::Q4_0,
        FileType::IQ4_XS,
        FileType::Q3_K_M,
        FileType::IQ3_S,
        FileType::Q2_K,
    ] {
        let path = dir.join(format!("{ty}.gguf"));
        let plan = QuantizePlan::new(ty).with_requantize(true);
        let summary = requantize(&source, &path, &plan, &mut show)?;
        let file = Gguf::read(&path)?;
        out!(
            "  {:<8} {:>5.2} {:>6.2} {:>7.3}%  {}\n",
            ty.name(),
            file.file_bytes() as f64 / 1e6,
            summary.bits_per_value(),
            100.0 * error(&source, &file)?,
            answer(&path)?
        )?;
    }
    Ok(())
}

/// Returns the root mean square error of all matrices, relative to the root of their mean square.
fn error(source: &Gguf, file: &Gguf) -> Result<f64> {
    let (mut errors, mut squares) = (0.0, 0.0);
    for tensor in source.iter().filter(|t| t.info.ty.is_quantized()) {
        let coded = file.require(&tensor.info.name)?.to_f32()?;
        for (x, y) in tensor.to_f32()?.into_iter().zip(coded) {
            errors += f64::from(x - y).powi(2);
            squares += f64::from(x).powi(2);
        }
    }
    Ok((errors / f64::max(squares, f64::MIN_POSITIVE)).sqrt())
}

/// Returns the first line of a greedy answer.
fn answer(path: &Path) -> Result<String> {
    let model = LocalModel::open(path)?;
    let options = Options {
        temperature: Some(0.0),
        max_tokens: Some(24),
        ..Options::default()
    };
    let request = ChatRequest::new().user(QUESTION).options(options);
    let reply = models::block_on(async { Ok(model.chat(&request).await?) })?;
    Ok(reply.text().lines().next().unwrap_or_default().to_owned())
}
