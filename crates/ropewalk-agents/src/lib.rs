//! Prompts, typed steps, memory and agents.
