//! HTML as text that people and models can read.

use url::Url;

use super::markup::{Token, Tokens, attribute, decoded};

/// A link of a page.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Link {
    /// Its words.
    pub text: String,
    /// The whole address, without the part after `#`.
    pub url: String,
}

/// What people see of a page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Readable {
    /// The title; empty when there is none.
    pub title: String,
    /// The text: blocks on lines of their own, headings with `#`, points of lists with `-`.
    pub text: String,
    /// The links to pages in order, each address once.
    pub links: Vec<Link>,
}

/// What is inside these is not shown.
const HIDDEN: [&str; 13] = [
    "script", "style", "template", "noscript", "svg", "math", "iframe", "object", "canvas",
    "audio", "video", "select", "textarea",
];

/// These begin a line; those in the second list an empty line before.
const LINES: [&str; 12] = [
    "div",
    "br",
    "tr",
    "dt",
    "dd",
    "figcaption",
    "option",
    "caption",
    "address",
    "header",
    "footer",
    "nav",
];
const BLOCKS: [&str; 14] = [
    "p",
    "ul",
    "ol",
    "dl",
    "table",
    "section",
    "article",
    "aside",
    "main",
    "blockquote",
    "pre",
    "hr",
    "form",
    "figure",
];

/// Reads a page: title, text and links. Linear in the length of `html`, which may be anything.
/// Relative links count from `base`; without a readable base they are left out.
///
/// ```
/// use ropewalk_tools::builtin::web::readable;
///
/// let page = "<title>Fares</title><h1>Fares</h1><p>Oslo: 99&nbsp;&euro;<br>\
///             <a href='/book#now'>Book</a><script>track()</script>";
/// let page = readable(page, "https://fly.test/fares/");
/// assert_eq!(page.title, "Fares");
/// assert_eq!(page.text, "# Fares\n\nOslo: 99 €\nBook");
/// assert_eq!(page.links[0].url, "https://fly.test/book");
/// ```
#[must_use]
pub fn readable(html: &str, base: &str) -> Readable {
    let mut page = Page {
        base: Url::parse(base).ok(),
        ..Page::default()
    };
    for token in Tokens::new(html) {
        page.take(token);
    }
    page.finish()
}

#[derive(Default)]
struct Page {
    base: Option<Url>,
    title: Option<String>,
    in_title: bool,
    /// The element that hides what is inside, and how often it is open.
    hidden: Option<(String, u32)>,
    text: Text,
    /// The address of the link that is open and where its words begin.
    link: Option<(String, String)>,
    links: Vec<Link>,
    seen: std::collections::HashSet<String>,
}

impl Page {
    fn take(&mut self, token: Token<'_>) {
        if let Some((name, depth)) = &mut self.hidden {
            match token {
                Token::Open(opened, _) if opened == *name => *depth += 1,
                Token::Close(closed) if closed == *name => *depth -= 1,
                _ => {}
            }
            if *depth == 0 {
                self.hidden = None;
            }
            return;
        }
        match token {
            Token::Open(name, attributes) => self.open(&name, attributes),
            Token::Close(name) => self.close(&name),
            Token::Text(text) if self.in_title => {
                let title = self.title.get_or_insert_default();
                title.push_str(&decoded(text));
            }
            Token::Text(text) => {
                let text = decoded(text);
                self.text.words(&text);
                if let Some((_, words)) = &mut self.link {
                    words.push_str(&text);
                }
            }
        }
    }

    fn open(&mut self, name: &str, attributes: &str) {
        match name {
            _ if HIDDEN.contains(&name) && !attributes.ends_with('/') => {
                self.hidden = Some((name.to_owned(), 1));
            }
            "title" => self.in_title = self.title.is_none(),
            "base" => {
                if let Some(base) = attribute(attributes, "href") {
                    self.base = match &self.base {
                        Some(old) => old.join(&base).ok().or_else(|| self.base.clone()),
                        None => Url::parse(&base).ok(),
                    };
                }
            }
            "a" => {
                self.end_link();
                if let Some(href) = attribute(attributes, "href") {
                    self.link = Some((href, String::new()));
                }
            }
            "li" => self.text.line("- "),
            "td" | "th" => self.text.words(" "),
            _ => match heading(name) {
                Some(marks) => self.text.block(marks),
                None => self.separate(name),
            },
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "title" => self.in_title = false,
            "a" => self.end_link(),
            "li" => self.text.line(""),
            _ if heading(name).is_some() => self.text.block(""),
            _ => self.separate(name),
        }
    }

    fn separate(&mut self, name: &str) {
        if BLOCKS.contains(&name) {
            self.text.block("");
        } else if LINES.contains(&name) {
            self.text.line("");
        }
    }

    fn end_link(&mut self) {
        let Some((href, words)) = self.link.take() else {
            return;
        };
        let url = match &self.base {
            Some(base) => base.join(href.trim()),
            None => Url::parse(href.trim()),
        };
        let Ok(mut url) = url else { return };
        let here = href.trim_start().starts_with('#');
        if here || !matches!(url.scheme(), "http" | "https") {
            return;
        }
        url.set_fragment(None);
        let url = String::from(url);
        if self.seen.insert(url.clone()) {
            let text = one_line(&words);
            self.links.push(Link { text, url });
        }
    }

    fn finish(mut self) -> Readable {
        self.end_link();
        Readable {
            title: one_line(&self.title.unwrap_or_default()),
            text: self.text.whole,
            links: self.links,
        }
    }
}

fn heading(name: &str) -> Option<&'static str> {
    Some(match name {
        "h1" => "# ",
        "h2" => "## ",
        "h3" => "### ",
        "h4" => "#### ",
        "h5" => "##### ",
        "h6" => "###### ",
        _ => return None,
    })
}

/// Joins words by single spaces.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text whose white space is collected until the next word comes.
#[derive(Default)]
struct Text {
    whole: String,
    /// Line ends to write before the next word.
    breaks: usize,
    space: bool,
    /// What to write before the next word.
    mark: &'static str,
}

impl Text {
    fn line(&mut self, mark: &'static str) {
        self.breaks = self.breaks.max(1);
        self.mark = mark;
    }

    fn block(&mut self, mark: &'static str) {
        self.breaks = 2;
        self.mark = mark;
    }

    fn words(&mut self, text: &str) {
        for part in text.split_inclusive(char::is_whitespace) {
            let word = part.trim_end();
            if !word.is_empty() {
                if !self.whole.is_empty() && self.breaks > 0 {
                    self.whole.push_str(&"\n\n"[..self.breaks]);
                } else if !self.whole.is_empty() && self.space {
                    self.whole.push(' ');
                }
                self.whole.push_str(self.mark);
                self.whole.push_str(word);
                (self.breaks, self.space, self.mark) = (0, false, "");
            }
            self.space |= word.len() < part.len();
        }
    }
}
