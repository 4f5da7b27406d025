//! Masking of API keys in text that may be printed.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Beginnings of keys that occur in no other word.
const KEY_PREFIXES: [&str; 20] = [
    "sk-ant-",
    "sk-proj-",
    "sk-or-",
    "sk-svcacct-",
    "sk-live-",
    "sk_live_",
    "gsk_",
    "xai-",
    "AIza",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "pplx-",
    "nvapi-",
    "xoxb-",
    "tgp_v1_",
    "eyJ",
];

/// Beginnings that ordinary names have too (`hf_hub_download`); what follows must look random.
const SHORT_PREFIXES: [&str; 8] = ["sk-", "sk_", "pk-", "csk-", "hf_", "r8_", "fw_", "jina_"];

/// Ends of the names of secrets, in lower case with `_` for `-`.
const NAME_ENDS: [&str; 16] = [
    "api_key",
    "apikey",
    "secret_key",
    "access_key",
    "private_key",
    "subscription_key",
    "auth_key",
    "api_token",
    "access_token",
    "accesstoken",
    "auth_token",
    "refresh_token",
    "api_secret",
    "client_secret",
    "password",
    "authorization",
];

/// Ends of environment variables that hold secrets.
const VARIABLE_ENDS: [&str; 4] = ["_KEY", "_TOKEN", "_SECRET", "_PASSWORD"];

/// Names of secrets that are ordinary words too.
const BARE_NAMES: [&str; 3] = ["key", "token", "secret"];

/// Words between "API key" and the key.
const FILLERS: [&str; 7] = [
    "provided", "supplied", "given", "used", "is", "was", "value",
];

const SCHEMES: [&str; 4] = ["bearer", "basic", "token", "apikey"];

/// Shorter words are no keys.
const SHORTEST: usize = 8;

const MASK: &str = "[redacted]";

/// Replaces what looks like an API key by `[redacted]`.
///
/// A word is masked when it begins like a known kind of key, and when it looks random and follows
/// what introduces a key: `Authorization:`, `Bearer`, `MISTRAL_API_KEY=`, `"api_key": `,
/// `API key provided: `, or a URL parameter such as `?key=`. The bare word `key` introduces one
/// only with `=`, `:` or `is`. Escapes of JSON and of `Debug` (`\n`, `\"`) are understood. Text
/// without such words is returned as it is, without a copy.
///
/// A key of which neither beginning nor surroundings give it away is not found; who knows the key
/// uses [`redact_exact`] besides.
///
/// ```
/// use ropewalk_core::redact;
/// assert_eq!(redact("GET /v1?key=AIzaSyA1234567 failed"), "GET /v1?key=[redacted] failed");
/// assert_eq!(redact("the key `qwen2.context_length` is missing"), "the key `qwen2.context_length` is missing");
/// ```
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    replace(text, &find(text))
}

/// Returns the keys in a text.
pub(crate) fn keys_in(text: &str) -> Vec<String> {
    let found = find(text).into_iter();
    found.map(|span| text[span].to_owned()).collect()
}

fn find(text: &str) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    let mut before: &str = "";
    while let Some(word) = next_word(text, at) {
        at = word.end;
        let found = known(text, &word).or_else(|| introduced(text, &word, before));
        if let Some(secret) = found {
            at = at.max(secret.end);
            spans.push(secret);
        }
        before = &text[word];
    }
    spans
}

/// Replaces every occurrence of known secrets by `[redacted]`, also percent-encoded ones, and then
/// does what [`redact`] does.
///
/// Secrets of fewer than 8 bytes are left alone: servers on the own machine are used with keys
/// such as `none`, and masking that would destroy the text.
///
/// ```
/// use ropewalk_core::redact_exact;
/// let text = "no account for kloe-wazi-pent";
/// assert_eq!(redact_exact(text, &["kloe-wazi-pent"]), "no account for [redacted]");
/// ```
#[must_use]
pub fn redact_exact<'t>(text: &'t str, secrets: &[&str]) -> Cow<'t, str> {
    let mut text = Cow::Borrowed(text);
    for secret in secrets.iter().filter(|s| s.len() >= SHORTEST) {
        for form in [(*secret).to_owned(), percent_encoded(secret)] {
            if text.contains(&form) {
                text = Cow::Owned(text.replace(&form, MASK));
            }
        }
    }
    match text {
        Cow::Borrowed(text) => redact(text),
        Cow::Owned(text) => Cow::Owned(redact(&text).into_owned()),
    }
}

fn percent_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| match plain(b) {
            true => char::from(b).to_string(),
            false => format!("%{b:02X}"),
        })
        .collect()
}

fn replace<'t>(text: &'t str, spans: &[Range<usize>]) -> Cow<'t, str> {
    if spans.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for span in spans {
        out.push_str(&text[copied..span.start]);
        out.push_str(MASK);
        copied = span.end;
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Finds the next run of characters of names and keys, without the escape it may begin with.
fn next_word(text: &str, at: usize) -> Option<Range<usize>> {
    let start = at + text.get(at..)?.find(is_word)?;
    let rest = &text[start..];
    let end = start + rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let bytes = text.as_bytes();
    let hex =
        |n: usize| end - start > n && bytes[start..start + n].iter().all(u8::is_ascii_hexdigit);
    let escape = match start.checked_sub(1).map(|i| bytes[i]) {
        Some(b'\\') if bytes[start] == b'u' && end - start > 5 => 5,
        Some(b'\\') if b"nrtbf0".contains(&bytes[start]) => 1,
        Some(b'%') if hex(2) => 2,
        _ => 0,
    };
    Some(start + escape..end)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Returns the key a word is, if it begins like one. Only tokens of the kind `eyJ…` have dots.
fn known(text: &str, word: &Range<usize>) -> Option<Range<usize>> {
    let whole = text[word.clone()].trim_end_matches('.');
    if whole.starts_with("eyJ") {
        return (whole.len() >= 40).then(|| word.start..word.start + whole.len());
    }
    let first = whole.split('.').next().unwrap_or_default();
    let distinct = KEY_PREFIXES.iter().any(|p| first.starts_with(p));
    let short = SHORT_PREFIXES.iter().find_map(|p| first.strip_prefix(p));
    let random = short.is_some_and(|rest| {
        let run = longest_run(rest);
        run.len() >= 16
            || (run.len() >= 10 && has_digit(run))
            || (rest.len() >= 32 && has_digit(rest))
    });
    let is_key = first.len() >= 12 && (distinct || random);
    is_key.then(|| word.start..word.start + first.len())
}

/// Returns the key that follows a word which introduces keys.
fn introduced(text: &str, word: &Range<usize>, before: &str) -> Option<Range<usize>> {
    let name = &text[word.clone()];
    let lower = name.to_ascii_lowercase().replace('-', "_");
    let rest = &text[word.end..];
    if matches!(lower.as_str(), "bearer" | "basic") {
        let gap = rest.len()
            - rest
                .trim_start_matches(|c: char| c == ':' || c.is_whitespace())
                .len();
        let value = value(text, word.end + gap);
        let text = &text[value.clone()];
        let is_key = match lower.as_str() {
            "basic" => is_basic(text),
            _ => is_likely(text),
        };
        return (gap > 0 && is_key).then_some(value);
    }
    let bare = BARE_NAMES.contains(&lower.as_str());
    let phrase = bare
        && ["api", "access", "secret"]
            .iter()
            .any(|w| before.eq_ignore_ascii_case(w));
    let variable = || {
        !name.contains(|c: char| c.is_ascii_lowercase())
            && VARIABLE_ENDS.iter().any(|e| name.ends_with(e))
    };
    let named = NAME_ENDS.iter().any(|e| lower.ends_with(e)) || variable();
    let parameter = text[..word.start].ends_with(['?', '&']) && rest.starts_with('=');
    if parameter && (bare || named || ["sig", "signature"].contains(&lower.as_str())) {
        let value = value(text, word.end + 1);
        return (value.len() >= 4).then_some(value);
    }
    if !bare && !named {
        return None;
    }
    let (start, link) = after_name(text, word.end);
    let value = value(text, start);
    let candidate = &text[value.clone()];
    let is_key = match link {
        Link::Assigned if named || phrase => is_likely(candidate) || is_basic(candidate),
        Link::Assigned => is_random(candidate),
        Link::Said => is_random(candidate),
        Link::Nothing => phrase && is_random(candidate),
    };
    is_key.then_some(value)
}

/// How a name and what follows it belong together.
#[derive(Clone, Copy, PartialEq)]
enum Link {
    /// By `=`, `:` or the like.
    Assigned,
    /// By "is", "provided" and the like.
    Said,
    Nothing,
}

/// Skips from the end of a name to the beginning of its value.
fn after_name(text: &str, end: usize) -> (usize, Link) {
    let mut link = Link::Nothing;
    let quotes = ['\\', '"', '\'', '`'];
    let mut rest = text[end..].trim_start_matches(quotes);
    let quoted = rest.len() < text.len() - end;
    rest = rest.trim_start();
    while let Some(next) = FILLERS.iter().find_map(|w| strip_word(rest, w)) {
        rest = next.trim_start();
        link = Link::Said;
    }
    for sign in ["=>", "=", ":", "%3D", "%3d", "%3A", "%3a"] {
        if let Some(next) = rest.strip_prefix(sign) {
            (rest, link) = (next, Link::Assigned);
            break;
        }
    }
    if let (true, Some(next)) = (quoted && link == Link::Nothing, rest.strip_prefix(',')) {
        (rest, link) = (next, Link::Assigned);
    }
    loop {
        let next = rest.trim_start().trim_start_matches(quotes);
        let next = next.strip_prefix("Some(").unwrap_or(next);
        let next = next.strip_prefix(['(', '[']).unwrap_or(next);
        let scheme = SCHEMES.iter().find_map(|w| strip_word(next, w));
        let next = scheme.map_or(next, str::trim_start);
        if next.len() == rest.len() {
            return (text.len() - rest.len(), link);
        }
        rest = next;
    }
}

/// Removes a word, in any case, from the beginning of text.
fn strip_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(word.len())?;
    (head.eq_ignore_ascii_case(word) && !rest.starts_with(is_word)).then_some(rest)
}

/// Returns the run of characters that keys are made of, base64 included (`\/` is JSON for `/`).
fn value(text: &str, start: usize) -> Range<usize> {
    let mut end = start;
    loop {
        let rest = &text[end..];
        let is_value = |c: char| is_word(c) || matches!(c, '/' | '+' | '=' | '~' | '%');
        end += rest.find(|c| !is_value(c)).unwrap_or(rest.len());
        match text[end..].strip_prefix("\\/") {
            Some(_) if end > start => end += 2,
            _ => break,
        }
    }
    start..start + text[start..end].trim_end_matches('.').len()
}

/// Whether a value that is a key by its name is one and not a word of a sentence.
fn is_likely(value: &str) -> bool {
    let letters = longest_run(value).len() == value.trim_end_matches('=').len();
    let base64 = value.contains(['+', '/', '=']) && !value.contains('.');
    value.len() >= SHORTEST
        && (has_digit(value) || (value.len() >= 20 && letters) || (value.len() >= 12 && base64))
}

/// Whether a value looks random by itself.
fn is_random(value: &str) -> bool {
    let run = longest_run(value);
    run.len() >= 16 && has_digit(run) && run.contains(|c: char| c.is_ascii_alphabetic())
}

/// Whether text is base64 of `user:password`.
fn is_basic(value: &str) -> bool {
    let bytes = STANDARD_NO_PAD.decode(value.trim_end_matches('='));
    let text = bytes.ok().and_then(|b| String::from_utf8(b).ok());
    text.is_some_and(|t| t.contains(':') && !t.contains(char::is_control))
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit())
}

fn longest_run(text: &str) -> &str {
    let runs = text.split(|c: char| !c.is_ascii_alphanumeric());
    runs.max_by_key(|r| r.len()).unwrap_or_default()
}
