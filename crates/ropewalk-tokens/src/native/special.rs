//! Finding the text of special tokens in an input.

/// A token whose text is matched before anything else.
#[derive(Debug, Clone)]
pub(crate) struct Special {
    pub(crate) id: u32,
    pub(crate) text: Box<str>,
    /// Matched only where special tokens are wanted; user-defined tokens always are.
    pub(crate) control: bool,
    /// Takes the white space before it.
    pub(crate) lstrip: bool,
    /// Takes the white space after it.
    pub(crate) rstrip: bool,
}

/// A trie over the texts of special tokens.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    tokens: Vec<Special>,
    nodes: Vec<Node>,
    first: Vec<bool>,
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by byte.
    next: Vec<(u8, u32)>,
    token: Option<u32>,
}

/// A part of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'t> {
    /// Text between special tokens, and its byte offset.
    Text(&'t str, usize),
    /// A special token and the byte range it takes.
    Token(u32, usize, usize),
}

impl Matcher {
    /// Empty texts are passed over; of equal texts the first counts.
    pub(crate) fn new(tokens: Vec<Special>) -> Self {
        let mut nodes = vec![Node::default()];
        let mut first = vec![false; 256];
        for (index, token) in tokens.iter().enumerate() {
            let Some(&byte) = token.text.as_bytes().first() else {
                continue;
            };
            first[byte as usize] = true;
            let mut at = 0;
            for &byte in token.text.as_bytes() {
                let found = nodes[at].next.binary_search_by_key(&byte, |&(key, _)| key);
                at = match found {
                    Ok(place) => nodes[at].next[place].1 as usize,
                    Err(place) => {
                        nodes.push(Node::default());
                        let new = nodes.len() - 1;
                        nodes[at].next.insert(place, (byte, new as u32));
                        new
                    }
                };
            }
            nodes[at].token.get_or_insert(index as u32);
        }
        Self {
            tokens,
            nodes,
            first,
        }
    }

    pub(crate) fn tokens(&self) -> &[Special] {
        &self.tokens
    }

    /// Returns the longest token at `start` and its end.
    fn longest(&self, bytes: &[u8], start: usize, control: bool) -> Option<(&Special, usize)> {
        let (mut at, mut best) = (0, None);
        for (end, &byte) in bytes.iter().enumerate().skip(start) {
            let node = &self.nodes[at];
            let Ok(place) = node.next.binary_search_by_key(&byte, |&(key, _)| key) else {
                break;
            };
            at = node.next[place].1 as usize;
            if let Some(index) = self.nodes[at].token {
                let token = &self.tokens[index as usize];
                if control || !token.control {
                    best = Some((token, end + 1));
                }
            }
        }
        best
    }

    /// Cuts `text` at its special tokens, leftmost and longest first.
    pub(crate) fn split<'t>(&self, text: &'t str, control: bool, mut emit: impl FnMut(Part<'t>)) {
        let bytes = text.as_bytes();
        let (mut done, mut at) = (0, 0);
        while at < bytes.len() && !self.first.is_empty() {
            let Some(skip) = bytes[at..]
                .iter()
                .position(|&byte| self.first[byte as usize])
            else {
                break;
            };
            at += skip;
            let Some((token, end)) = self.longest(bytes, at, control) else {
                at += 1;
                continue;
            };
            let (mut from, mut to) = (at, end);
            if token.lstrip {
                from = done + text[done..at].trim_end().len();
            }
            if token.rstrip {
                to = text.len() - text[end..].trim_start().len();
            }
            if from > done {
                emit(Part::Text(&text[done..from], done));
            }
            emit(Part::Token(token.id, from, to));
            (done, at) = (to, to);
        }
        if done < text.len() {
            emit(Part::Text(&text[done..], done));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str, control: bool) -> Vec<Part<'_>> {
        let token = |id, text: &str, control, strip| Special {
            id,
            text: text.into(),
            control,
            lstrip: strip,
            rstrip: strip,
        };
        let matcher = Matcher::new(vec![
            token(1, "<a>", true, false),
            token(2, "<a><a>", true, false),
            token(3, "<b>", false, true),
            token(4, "", true, false),
        ]);
        let mut parts = Vec::new();
        matcher.split(text, control, |part| parts.push(part));
        parts
    }

    #[test]
    fn longest_token_wins_and_stripping_takes_spaces() {
        use Part::{Text, Token};
        assert_eq!(
            parts("x<a><a><a> <b> é", true),
            [
                Text("x", 0),
                Token(2, 1, 7),
                Token(1, 7, 10),
                Token(3, 10, 15),
                Text("é", 15)
            ]
        );
        assert_eq!(parts("<a> <b>", false), [Text("<a>", 0), Token(3, 3, 7)]);
        assert_eq!(parts("", true), []);
        assert_eq!(parts("<a", true), [Text("<a", 0)]);
    }
}
