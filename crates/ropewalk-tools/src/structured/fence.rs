//! Code fences around a whole reply.

/// Longest line that is looked at as a fence.
const LONGEST: usize = 256;

/// Takes the Markdown code fence off a text that comes in pieces, if one encloses all of it.
///
/// Models wrap what they were asked for in a fence. The opening line (`` ```markdown ``) and the
/// closing one are left out; everything else passes unchanged, the word "markdown" included. Text
/// that does not begin with a fence passes at once. Inside of a fence of Markdown a line that might
/// close it waits until it is known whether anything follows, since such text has fences of its
/// own; other fences end at the first closing line.
///
/// ```
/// use ropewalk_tools::FenceStripper;
///
/// let mut text = FenceStripper::new();
/// let mut shown = String::new();
/// for piece in ["``", "`mark", "down\n# On mark", "down\n``", "`\n"] {
///     shown += &text.push(piece);
/// }
/// shown += &text.finish();
/// assert_eq!(shown, "# On markdown\n");
/// assert_eq!(FenceStripper::strip("Use ```x``` here."), "Use ```x``` here.");
/// ```
#[derive(Debug, Clone, Default)]
pub struct FenceStripper {
    state: State,
    /// What is not decided on: the beginning, or the current line inside of the fence.
    line: String,
    /// A closing line and the blank lines after it.
    held: String,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Start,
    Inside {
        fence: Fence,
        /// Whether the beginning of a line is due or in `line`.
        undecided: bool,
    },
    Through,
}

#[derive(Debug, Clone, Copy)]
struct Fence {
    mark: char,
    length: usize,
    /// Whether there may be fences inside of it.
    nests: bool,
}

impl FenceStripper {
    /// Creates a stripper at the beginning of a text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a whole text without the fence that encloses it.
    #[must_use]
    pub fn strip(text: &str) -> String {
        let mut stripper = Self::new();
        let mut out = stripper.push(text);
        out.push_str(&stripper.finish());
        out
    }

    /// Takes the next piece and returns what can be shown.
    #[must_use = "the text passes through"]
    pub fn push(&mut self, piece: &str) -> String {
        let mut out = String::with_capacity(piece.len());
        match self.state {
            State::Start => {
                self.line.push_str(piece);
                self.start(&mut out);
            }
            State::Inside { .. } => self.inside(piece, &mut out),
            State::Through => out.push_str(piece),
        }
        out
    }

    /// Returns the rest; the text is over.
    #[must_use = "the text passes through"]
    pub fn finish(self) -> String {
        match self.state {
            State::Inside { fence, .. } if fence.is_closed_by(&self.line) => String::new(),
            // A closing line with blank lines after it.
            State::Inside { .. } if self.line.trim().is_empty() && !self.held.is_empty() => {
                String::new()
            }
            _ => self.held + &self.line,
        }
    }

    /// Decides whether the text begins with a fence, as soon as that can be known.
    fn start(&mut self, out: &mut String) {
        let text = self.line.trim_start();
        let blank = self.line.len() - text.len();
        let whole_line = text.split_once('\n');
        let opening = whole_line.map_or(text, |(line, _)| line);
        let possible = opening.is_empty() || Fence::may_open(opening);
        if !possible || (whole_line.is_none() && text.len() > LONGEST) || blank > LONGEST {
            self.state = State::Through;
            out.push_str(&std::mem::take(&mut self.line));
        } else if let Some((line, rest)) = whole_line {
            match Fence::opened_by(line) {
                Some(fence) => {
                    let rest = rest.to_owned();
                    self.line.clear();
                    self.state = State::Inside {
                        fence,
                        undecided: true,
                    };
                    self.inside(&rest, out);
                }
                None => {
                    self.state = State::Through;
                    out.push_str(&std::mem::take(&mut self.line));
                }
            }
        }
    }

    fn inside(&mut self, text: &str, out: &mut String) {
        let mut rest = text;
        while let State::Inside { fence, undecided } = self.state {
            let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
            let (piece, after) = rest.split_at(end);
            if piece.is_empty() {
                return;
            }
            rest = after;
            if undecided {
                self.line.push_str(piece);
                self.line_begun(fence, out);
            } else {
                out.push_str(piece);
                let undecided = piece.ends_with('\n');
                self.state = State::Inside { fence, undecided };
            }
        }
        out.push_str(rest);
    }

    /// Decides on the current line, as soon as that can be done.
    fn line_begun(&mut self, fence: Fence, out: &mut String) {
        let ended = self.line.ends_with('\n');
        let waits = |c: char| c == fence.mark || c == ' ' || c == '\t' || c == '\r';
        if !ended && self.line.len() <= LONGEST && self.line.chars().all(waits) {
            return;
        }
        if ended && fence.is_closed_by(&self.line) {
            out.push_str(&std::mem::take(&mut self.held));
            self.held = std::mem::take(&mut self.line);
            return;
        }
        if ended && self.line.trim().is_empty() && !self.held.is_empty() {
            self.held.push_str(&std::mem::take(&mut self.line));
            return;
        }
        let held = std::mem::take(&mut self.held);
        if fence.nests || held.is_empty() {
            out.push_str(&held);
            self.state = State::Inside {
                fence,
                undecided: ended,
            };
        } else {
            // The fence was closed; what follows is prose.
            out.push_str(held.split_once('\n').map_or("", |(_, blank)| blank));
            self.state = State::Through;
        }
        out.push_str(&std::mem::take(&mut self.line));
    }
}

impl Fence {
    /// Returns whether a line that is not complete may become an opening one.
    fn may_open(line: &str) -> bool {
        let Some(mark @ ('`' | '~')) = line.chars().next() else {
            return false;
        };
        let info = line.trim_start_matches(mark);
        info.is_empty() || (line.len() - info.len() >= 3 && !info.contains('`'))
    }

    fn opened_by(line: &str) -> Option<Self> {
        let mark = line.chars().next()?;
        let info = line.trim_start_matches(mark);
        let length = line.len() - info.len();
        let nests = matches!(
            info.trim().to_ascii_lowercase().as_str(),
            "" | "markdown" | "md"
        );
        let fence = Self {
            mark,
            length,
            nests,
        };
        (length >= 3 && Self::may_open(line)).then_some(fence)
    }

    fn is_closed_by(self, line: &str) -> bool {
        let line = line.trim();
        line.len() >= self.length && line.chars().all(|c| c == self.mark)
    }
}
