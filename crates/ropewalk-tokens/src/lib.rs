//! Tokenizers (tokenizer.json, GGUF vocabularies), chat templates, tool-call parsing and token budgets
