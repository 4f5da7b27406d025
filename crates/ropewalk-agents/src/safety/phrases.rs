//! What injected instructions often say, as data.

/// Words of one meaning, in lower case and without apostrophes.
pub(super) type Words = &'static [&'static str];

/// A phrase as a row of words.
pub(super) struct Phrase {
    pub(super) kind: &'static str,
    /// What findings call it.
    pub(super) name: &'static str,
    pub(super) slots: &'static [Slot],
}

/// A place in a phrase.
pub(super) enum Slot {
    /// One of these words.
    One(Words),
    /// Up to this many of these words.
    Some(usize, Words),
}

use Slot::{One, Some};

/// Texts that are found as they are.
pub(super) const MARKUP: [&str; 5] = [
    "<|im_start|>",
    "<|start_header_id|>",
    "[inst]",
    "<system>",
    "### system",
];

/// Orders to drop what was said, in English, German, French and Spanish: one of these verbs, and
/// after it nothing but words of the lists below, in any order, up to [`LONGEST_ORDER`] of them.
pub(super) const DROP: Words = &[
    "ignore",
    "ignoring",
    "disregard",
    "disregarding",
    "forget",
    "override",
    "overrule",
    "bypass",
    "discard", //
    "ignoriere",
    "ignorieren",
    "ignoriert",
    "missachte",
    "vergiss",
    "vergesst", //
    "ignorez",
    "oublie",
    "oubliez", //
    "ignora",
    "ignorad",
    "ignoren",
    "olvida",
    "olvide",
];

pub(super) const LONGEST_ORDER: usize = 8;

/// What is to be dropped; needs one of [`WHICH`] beside it.
pub(super) const ORDERS: Words = &[
    "instruction",
    "instructions",
    "rule",
    "rules",
    "guideline",
    "guidelines",
    "directive",
    "directives",
    "order",
    "orders",
    "command",
    "commands",
    "prompt",
    "prompts",
    "message",
    "messages",
    "constraint",
    "constraints",
    "restriction",
    "restrictions",
    "policy",
    "policies",
    "context", //
    "anweisung",
    "anweisungen",
    "instruktionen",
    "regeln",
    "vorgaben",
    "befehle", //
    "consigne",
    "consignes",
    "règles", //
    "instrucciones",
    "órdenes",
    "reglas",
    "indicaciones",
];

/// Which of them.
pub(super) const WHICH: Words = &[
    "all",
    "any",
    "every",
    "your",
    "previous",
    "previously",
    "prior",
    "earlier",
    "preceding",
    "former",
    "original",
    "initial",
    "existing",
    "current",
    "system",
    "safety",
    "developer", //
    "alle",
    "deine",
    "ihre",
    "vorherigen",
    "bisherigen",
    "vorigen",
    "früheren", //
    "toutes",
    "tous",
    "tes",
    "vos",
    "précédentes",
    "précédents",
    "antérieures", //
    "todas",
    "todos",
    "tus",
    "sus",
    "anteriores",
    "previas",
];

/// What says by itself that all is to be dropped.
pub(super) const ALL: Words = &[
    "above",
    "everything",
    "obigen",
    "obige",
    "alles",
    "todo",
    "tout",
];

/// What may stand between.
pub(super) const BETWEEN: Words = &[
    "the", "of", "these", "those", "that", "this", "my", "our", "his", "her", "their", "other",
    "given", "and", "or", ":", //
    "die", "der", "diese", "les", "ces", "de", "la", "las", "los", "estas", "y", "et", "und",
];

const ARTICLES: Words = &[
    "the", "this", "that", "it", "your", "any", "about", "to", "of",
];

const WHO: Words = &[
    "user", "users", "human", "customer", "person", "anyone", "anybody",
];

pub(super) const PHRASES: [Phrase; 10] = [
    Phrase {
        kind: "override",
        name: "new instructions:",
        slots: &[
            One(&["new", "updated", "real", "actual"]),
            One(&["instruction", "instructions", "orders", "rules", "task"]),
            One(&[":"]),
        ],
    },
    Phrase {
        kind: "role",
        name: "you are now",
        slots: &[One(&["you"]), One(&["are"]), One(&["now"])],
    },
    Phrase {
        kind: "role",
        name: "from now on you",
        slots: &[One(&["from"]), One(&["now"]), One(&["on"]), One(&["you"])],
    },
    Phrase {
        kind: "role",
        name: "pretend to be",
        slots: &[One(&["pretend"]), One(&["to"]), One(&["be"])],
    },
    Phrase {
        kind: "role",
        name: "act as the system",
        slots: &[
            One(&["act"]),
            One(&["as"]),
            One(&["the", "a"]),
            One(&["system", "developer", "administrator", "root"]),
        ],
    },
    Phrase {
        kind: "role",
        name: "developer mode",
        slots: &[One(&["developer", "dan", "god"]), One(&["mode"])],
    },
    Phrase {
        kind: "role",
        name: "system prompt",
        slots: &[One(&["system"]), One(&["prompt"])],
    },
    Phrase {
        kind: "secrecy",
        name: "do not tell the user",
        slots: &[
            One(&["not", "dont", "never"]),
            One(&[
                "tell", "inform", "notify", "alert", "warn", "mention", "reveal",
            ]),
            Some(3, ARTICLES),
            One(WHO),
        ],
    },
    Phrase {
        kind: "secrecy",
        name: "without telling the user",
        slots: &[
            One(&["without"]),
            One(&[
                "telling",
                "informing",
                "notifying",
                "asking",
                "alerting",
                "mentioning",
            ]),
            Some(3, ARTICLES),
            One(WHO),
        ],
    },
    Phrase {
        kind: "exfiltration",
        name: "send the conversation",
        slots: &[
            One(&[
                "send",
                "forward",
                "mail",
                "email",
                "upload",
                "post",
                "leak",
                "exfiltrate",
            ]),
            Some(
                6,
                &[
                    "me",
                    "us",
                    "them",
                    "the",
                    "this",
                    "all",
                    "any",
                    "every",
                    "of",
                    "your",
                    "their",
                    "his",
                    "her",
                    "whole",
                    "entire",
                    "full",
                    "complete",
                    "users",
                    "customers",
                ],
            ),
            One(&[
                "conversation",
                "conversations",
                "history",
                "transcript",
                "messages",
                "mails",
                "emails",
                "inbox",
                "password",
                "passwords",
                "credentials",
                "secret",
                "secrets",
                "booking",
                "bookings",
                "files",
            ]),
        ],
    },
];
