//! Prints `load first prefill decode memory` of candle's quantised Llama: seconds, seconds,
//! tokens/s, tokens/s, MB. `first` is the time until a prompt of 16 tokens is answered, with loading.
//!
//! Usage: peer-candle FILE.gguf PREFILL DECODE

use std::time::Instant;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Result, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize| args[i].parse::<usize>().expect("a number");
    let (prefill, decode) = (number(2), number(3));
    let start = Instant::now();
    let mut file = std::fs::File::open(&args[1])?;
    let content = Content::read(&mut file)?;
    let mut model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?;
    let load = start.elapsed().as_secs_f64();
    let ids: Vec<u32> = (0..prefill).map(|i| (i * 7919 % 30_000) as u32).collect();
    let input = Tensor::new(&ids[..], &Device::Cpu)?.unsqueeze(0)?;
    // Weights are repacked on first use, which belongs to the first answer.
    model.forward(&Tensor::new(&ids[..16], &Device::Cpu)?.unsqueeze(0)?, 0)?;
    let first = start.elapsed().as_secs_f64();
    model.forward(&Tensor::new(&ids[..8], &Device::Cpu)?.unsqueeze(0)?, 16)?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let resident: f64 = resident
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .map_or(f64::NAN, |kib: f64| kib * 1024.0 / 1e6);
    let start = Instant::now();
    model.forward(&input, 0)?;
    let prefill_rate = prefill as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for i in 0..decode {
        let id = Tensor::new(&[(i * 31 % 30_000) as u32], &Device::Cpu)?.unsqueeze(0)?;
        model.forward(&id, prefill + i)?;
    }
    let decode_rate = decode as f64 / start.elapsed().as_secs_f64();
    println!("{load:.3} {first:.3} {prefill_rate:.2} {decode_rate:.2} {resident:.0}");
    Ok(())
}
