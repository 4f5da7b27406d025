//! Prints `load prefill decode` of candle's quantised Llama: seconds, tokens/s, tokens/s.
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
    // Weights are repacked on first use, which is not what is compared here.
    for position in 0..2 {
        let warm = Tensor::new(&ids[position * 8..][..8], &Device::Cpu)?.unsqueeze(0)?;
        model.forward(&warm, position * 8)?;
    }
    let start = Instant::now();
    model.forward(&input, 0)?;
    let prefill_rate = prefill as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for i in 0..decode {
        let id = Tensor::new(&[(i * 31 % 30_000) as u32], &Device::Cpu)?.unsqueeze(0)?;
        model.forward(&id, prefill + i)?;
    }
    println!(
        "{load:.3} {prefill_rate:.2} {:.2}",
        decode as f64 / start.elapsed().as_secs_f64()
    );
    Ok(())
}
