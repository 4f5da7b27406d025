//! What is put in front of texts.

use ropewalk_core::EmbedKind;
use ropewalk_spec::SentenceSpec;

/// Prompts by kind of text.
#[derive(Debug, Default)]
pub(super) struct Prompts {
    query: String,
    document: String,
    clustering: String,
    classification: String,
}

/// The names under which folders keep the prompt of each kind, as `encode_query` and
/// `encode_document` of sentence-transformers look for them.
const NAMES: [(EmbedKind, &[&str]); 4] = [
    (EmbedKind::Query, &["query"]),
    (EmbedKind::Document, &["document", "passage", "corpus"]),
    (EmbedKind::Clustering, &["clustering", "Clustering"]),
    (
        EmbedKind::Classification,
        &["classification", "Classification"],
    ),
];

impl Prompts {
    /// The prompts of a folder, or its default one, where none is chosen for a kind.
    pub(super) fn new(spec: &SentenceSpec, chosen: &[(EmbedKind, String)]) -> Self {
        let mut prompts = Self::default();
        let default = spec
            .default_prompt
            .as_ref()
            .and_then(|name| spec.prompts.get(name));
        for (kind, names) in NAMES {
            let own = chosen
                .iter()
                .rev()
                .find(|(k, _)| *k == kind)
                .map(|(_, text)| text);
            let found = names.iter().find_map(|name| spec.prompts.get(*name));
            let text = own.or(found).or(default).cloned().unwrap_or_default();
            *match kind {
                EmbedKind::Query => &mut prompts.query,
                EmbedKind::Clustering => &mut prompts.clustering,
                EmbedKind::Classification => &mut prompts.classification,
                _ => &mut prompts.document,
            } = text;
        }
        prompts
    }

    pub(super) fn of(&self, kind: EmbedKind) -> &str {
        match kind {
            EmbedKind::Query => &self.query,
            EmbedKind::Clustering => &self.clustering,
            EmbedKind::Classification => &self.classification,
            _ => &self.document,
        }
    }
}
