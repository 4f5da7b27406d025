//! The abilities of OpenAI and of servers compatible with it.

use super::{
    RemoteEmbeddings, RemoteImages, RemoteModeration, RemoteRerank, RemoteSpeech,
    RemoteTranscription, RerankShape,
};
use crate::openai::OpenAi;

impl OpenAi {
    /// Returns an embedding model, for example `text-embedding-3-small`.
    pub fn embeddings(&self, model: impl Into<String>) -> RemoteEmbeddings {
        RemoteEmbeddings::new(self.endpoint.clone(), model)
    }

    /// Returns an image model, for example `gpt-image-2`.
    pub fn images(&self, model: impl Into<String>) -> RemoteImages {
        RemoteImages::new(self.endpoint.clone(), model)
    }

    /// Returns a speech model, for example `gpt-4o-mini-tts`.
    pub fn speech(&self, model: impl Into<String>) -> RemoteSpeech {
        RemoteSpeech::new(self.endpoint.clone(), model)
    }

    /// Returns a transcription model, for example `whisper-1`.
    pub fn transcription(&self, model: impl Into<String>) -> RemoteTranscription {
        RemoteTranscription::new(self.endpoint.clone(), model)
    }

    /// Returns a moderation model, for example `omni-moderation-latest`.
    pub fn moderation(&self, model: impl Into<String>) -> RemoteModeration {
        RemoteModeration::new(self.endpoint.clone(), model)
    }

    /// Returns a rerank model of a compatible server that has `/rerank` (llama.cpp, vLLM); OpenAI
    /// itself has none.
    pub fn rerank(&self, model: impl Into<String>) -> RemoteRerank {
        RemoteRerank::new(self.endpoint.clone(), model, RerankShape::LLAMA_CPP)
    }
}
