//! Documents sorted by how well they answer a query.
//!
//! ```sh
//! cargo run --release --example rerank
//! cargo run --release --example rerank -- --model bge-reranker-base --query "Who builds ropes?" "A lane." "A baker."
//! ```
//!
//! `--model` takes the folder of a cross-encoder with one label (cross-encoder/ms-marco-MiniLM-L6-v2,
//! BAAI/bge-reranker-base, Alibaba-NLP/gte-reranker-modernbert-base), downloaded before: `hf:` is not read here. At
//! most eight documents can be named. The repository ships no cross-encoder. Without `--model` the language model in
//! `data/` scores a document by how much likelier it is as the answer to the query than as the answer to a greeting, in
//! nats per token; it was not trained for this and knows few topics.
//!
//! Ends with the documents, best first, each behind its score.
//!
//! Smoke: --query "What is GGUF?"

use anyhow::Result;
use ropewalk::core::{ChatRequest, Ranked, RerankModel, RerankRequest, RerankResponse};
use ropewalk::local::{
    EncoderOptions, LoadOptions, LocalModel, LocalReranker, RerankerOptions, ScoreActivation,
};
use ropewalk_examples::{Args, PASSAGES, load_chat, out};

const USAGE: &str = "\
usage: rerank [TEXT TEXT TEXT TEXT TEXT TEXT TEXT TEXT] [options]
  --model DIR      the folder of a cross-encoder
  --query TEXT     what the documents should answer
  --top N          documents to show (all)
  --logits         scores as the last matrix gives them, without the sigmoid
  --int8           hold matrices in 8 bits
  --threads N      threads that compute";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(example)
}

fn example() -> Result<()> {
    let args = Args::parse(USAGE)?;
    let given: Vec<&str> = (0..).map_while(|at| args.free(at)).collect();
    let documents = if given.is_empty() {
        PASSAGES.to_vec()
    } else {
        given
    };
    let query = args
        .text("--query")
        .unwrap_or("Which crate has the CPU kernels?");
    let mut request = RerankRequest::new(query, documents.iter().copied());
    request.top_n = args.optional("--top")?;
    let reply = futures_executor::block_on(open(&args)?.rerank(&request))?;
    out!("{query}\n")?;
    for warning in reply.warnings {
        out!("{warning}\n")?;
    }
    for Ranked { index, score, .. } in reply.results {
        out!("{score:>8.3}  {}\n", documents[index])?;
    }
    Ok(())
}

fn open(args: &Args) -> Result<Box<dyn RerankModel>> {
    let threads = args.optional("--threads")?;
    let Some(path) = args.path("--model") else {
        anyhow::ensure!(
            !args.has("--int8") && !args.has("--logits"),
            "--int8 and --logits take --model"
        );
        out!(
            "scoring with the shipped language model, which is no cross-encoder; see --model\n\n"
        )?;
        let mut options = LoadOptions::default();
        options.threads = threads;
        return Ok(Box::new(AnswerLikelihood(load_chat(None, options, false)?)));
    };
    let mut encoder = EncoderOptions::default();
    encoder.threads = threads;
    if args.has("--int8") {
        encoder = encoder.with_int8();
    }
    let mut options = RerankerOptions::default().with_encoder(encoder);
    if args.has("--logits") {
        options = options.with_activation(ScoreActivation::Identity);
    }
    Ok(Box::new(LocalReranker::open_with(path, &options)?))
}

/// Scores a document by log p(document | query) - log p(document | greeting), per token.
///
/// The first term alone prefers documents that a model always finds likely; their difference is the pointwise mutual
/// information of document and query.
struct AnswerLikelihood(LocalModel);

impl AnswerLikelihood {
    /// Mean log probability of the tokens of a document as the answer to a question.
    fn log_likelihood(&self, question: &str, document: &str) -> ropewalk::core::Result<f32> {
        let model = self.0.model();
        let encode = |text: &str| {
            let ids = self.0.tokenizer().encode(text, false);
            ids.map_err(ropewalk::core::Error::inference)
        };
        let prompt = self.0.render(&ChatRequest::new().user(question))?;
        let prompt = encode(&prompt)?;
        let answer = encode(document)?;
        let ids = [&prompt[..], &answer].concat();
        let logits = model.forward_all(&mut model.new_cache(), &ids)?;
        let rows = logits.chunks_exact(model.spec().vocab_size);
        // The row after token i predicts token i + 1.
        let sum: f32 = rows
            .skip(prompt.len() - 1)
            .zip(&answer)
            .map(|(row, id)| log_p(row, *id))
            .sum();
        Ok(sum / answer.len().max(1) as f32)
    }
}

fn log_p(row: &[f32], id: u32) -> f32 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = row.iter().map(|x| (x - max).exp()).sum();
    row[id as usize] - max - sum.ln()
}

#[async_trait::async_trait]
impl RerankModel for AnswerLikelihood {
    fn provider(&self) -> &str {
        "example"
    }

    fn model(&self) -> &str {
        self.0.name()
    }

    async fn rerank(&self, request: &RerankRequest) -> ropewalk::core::Result<RerankResponse> {
        let mut results = Vec::new();
        for (index, document) in request.documents.iter().enumerate() {
            let answer = self.log_likelihood(&request.query, document)?;
            let usual = self.log_likelihood("Hello", document)?;
            results.push(Ranked::new(index, answer - usual));
        }
        results.sort_by(|a, b| b.score.total_cmp(&a.score));
        results.truncate(request.top_n.unwrap_or(usize::MAX));
        Ok(RerankResponse::new(results).with_model(self.0.name()))
    }
}
