//! Expected-value decoding: the mean of the numbers that a model holds possible here.

use ropewalk_tokens::Tokenizer;

use crate::adapter::ActiveAdapter;
use crate::generate::refuse_empty;
use crate::sample::{Candidates, log_sum_exp};
use crate::{Cache, Error, LocalModel, Model, Result, Step};

/// How far numbers are followed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NumberOptions {
    /// At most this many tokens of one number and what stands before it; 12 unless set.
    pub max_tokens: usize,
    /// Beginnings of numbers that run together at each step, the most probable ones; 64 unless set.
    pub beams: usize,
    /// Beginnings that are less probable than this are not followed; 1e-6 unless set.
    pub least: f64,
    /// Adapters beside the model.
    pub adapters: Vec<ActiveAdapter>,
}

impl Default for NumberOptions {
    fn default() -> Self {
        Self {
            max_tokens: 12,
            beams: 64,
            least: 1e-6,
            adapters: Vec::new(),
        }
    }
}

impl NumberOptions {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many tokens of a number are followed.
    #[must_use]
    pub fn with_max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = tokens;
        self
    }

    /// Sets how many beginnings run together.
    #[must_use]
    pub fn with_beams(mut self, beams: usize) -> Self {
        self.beams = beams;
        self
    }

    /// Sets the probability below which a beginning is not followed.
    #[must_use]
    pub fn with_least(mut self, probability: f64) -> Self {
        self.least = probability;
        self
    }

    /// Runs the model with adapters.
    #[must_use]
    pub fn with_adapters(mut self, adapters: impl Into<Vec<ActiveAdapter>>) -> Self {
        self.adapters = adapters.into();
        self
    }
}

/// The distribution of the numbers that may come next.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExpectedNumber {
    /// The mean: the sum of value times probability, divided by [`mass`](Self::mass).
    pub value: f64,
    /// The standard deviation of the same distribution.
    pub deviation: f64,
    /// The probability that one of [`numbers`](Self::numbers) comes.
    pub mass: f64,
    /// The probability of beginnings of numbers that were not followed to their end.
    pub open: f64,
    /// Each number with its probability, the most probable first.
    pub numbers: Vec<(f64, f64)>,
}

impl ExpectedNumber {
    /// Returns the weighted mean of those of the `top` most probable next tokens that read as a
    /// number, white space aside; `None` where none does. `logits` is `[vocab]`.
    ///
    /// This is what fine-tuned models for prices are asked with: the softmax over the whole
    /// vocabulary, its best three tokens, those that are numbers weighted by their probability. It
    /// takes one token for the whole number, so it is meant for vocabularies with tokens of several
    /// digits; [`expected_number`] follows numbers over tokens.
    pub fn of_next_token(logits: &[f32], tokenizer: &Tokenizer, top: usize) -> Option<Self> {
        let norm = log_sum_exp(logits);
        let mut best = Candidates::default();
        best.fill(logits);
        best.keep_best(top);
        let numbers = best.items().iter().filter_map(|c| {
            let bytes = tokenizer.decode_bytes(c.id)?;
            let value = number(std::str::from_utf8(&bytes).ok()?)?;
            Some((value, (f64::from(c.logit) - norm).exp()))
        });
        Self::new(numbers.collect(), 0.0)
    }

    /// Merges equal numbers.
    fn new(mut numbers: Vec<(f64, f64)>, open: f64) -> Option<Self> {
        numbers.sort_by(|a, b| a.0.total_cmp(&b.0));
        numbers.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        numbers.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mass: f64 = numbers.iter().map(|n| n.1).sum();
        if mass <= 0.0 {
            return None;
        }
        let value = numbers.iter().map(|(x, p)| x * p / mass).sum::<f64>();
        let square = |(x, p): &(f64, f64)| (x - value).powi(2) * p / mass;
        let deviation = numbers.iter().map(square).sum::<f64>().sqrt();
        Some(Self {
            value,
            deviation,
            mass,
            open,
            numbers,
        })
    }
}

/// Reads a whole token as a decimal number; words such as `inf` are none.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.trim_start_matches(['+', '-', '.']);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|x: &f64| x.is_finite())
}

/// Where in a number a text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Only white space so far.
    Before,
    Sign,
    Whole,
    /// Right after the point, which may end a sentence instead.
    Point,
    Fraction,
}

/// The beginning of a number.
#[derive(Debug, Clone, PartialEq)]
struct Reading {
    place: Place,
    /// Sign, digits and point.
    text: String,
}

/// What a piece of text makes of a beginning.
#[derive(Debug, PartialEq)]
enum Read {
    /// More may follow.
    Open(Reading),
    /// The number ended in the piece.
    Ended(f64),
    /// No number began.
    None,
}

impl Reading {
    fn begin() -> Self {
        Self {
            place: Place::Before,
            text: String::new(),
        }
    }

    /// Returns the value if the number ends here.
    fn value(&self) -> Option<f64> {
        let text = self.text.trim_end_matches('.');
        match self.place {
            Place::Before | Place::Sign => None,
            Place::Whole | Place::Point | Place::Fraction => {
                text.parse().ok().filter(|value: &f64| value.is_finite())
            }
        }
    }

    fn push(&self, piece: &[u8]) -> Read {
        let mut next = self.clone();
        for &byte in piece {
            next.place = match (next.place, byte) {
                (Place::Before, b) if b.is_ascii_whitespace() => continue,
                (Place::Before, b'+' | b'-') => Place::Sign,
                (Place::Before | Place::Sign | Place::Whole, b'0'..=b'9') => Place::Whole,
                (Place::Whole, b'.') => Place::Point,
                (Place::Point | Place::Fraction, b'0'..=b'9') => Place::Fraction,
                _ => return next.value().map_or(Read::None, Read::Ended),
            };
            next.text.push(char::from(byte));
        }
        Read::Open(next)
    }
}

/// A beginning whose tokens are in a cache.
struct Beginning {
    reading: Reading,
    probability: f64,
    cache: Cache,
    logits: Vec<f32>,
}

/// Returns the distribution of the numbers that may begin after a prompt: their mean, their spread
/// and how probable they are; `None` where no number can come.
///
/// A number is white space, a sign or none, digits, and a point with digits or none; it ends with the
/// first token that does not go on with it. Every way in which tokens spell it is followed,
/// the most probable ones first, up to the limits of the options; what they leave out is told as
/// [`ExpectedNumber::open`]. Separators of thousands end a number.
///
/// # Errors
/// [`Error::Option`] for a limit of 0, those of [`Model::forward`].
pub fn expected_number(
    model: &Model,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    options: &NumberOptions,
) -> Result<Option<ExpectedNumber>> {
    refuse_empty(prompt)?;
    for (name, value) in [
        ("max_tokens of a number", options.max_tokens),
        ("the number of beams", options.beams),
    ] {
        if value == 0 {
            return Err(Error::Option {
                name,
                value: "0".into(),
                allowed: "1 or more",
            });
        }
    }
    let pieces = pieces(tokenizer, model.spec().vocab_size);
    let mut cache = model.new_cache();
    let mut step = [Step::new(&mut cache, prompt).with_adapters(&options.adapters)];
    let logits = model.forward_batch(&mut step)?.pop().unwrap_or_default();
    let mut open = vec![Beginning {
        reading: Reading::begin(),
        probability: 1.0,
        cache,
        logits,
    }];
    let (mut numbers, mut dropped) = (Vec::new(), 0.0);
    for left in (0..options.max_tokens).rev() {
        let mut longer = Vec::new();
        for (from, beginning) in open.iter().enumerate() {
            follow(beginning, from, &pieces, &mut numbers, &mut longer);
        }
        longer.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        let room = open
            .first()
            .is_some_and(|b| b.cache.len() < b.cache.capacity());
        let keep = if left > 0 && room { options.beams } else { 0 };
        let worth = longer.iter().take(keep);
        let keep = worth.take_while(|l| l.probability >= options.least).count();
        dropped += longer[keep..].iter().map(Longer::begun).sum::<f64>();
        longer.truncate(keep);
        if longer.is_empty() {
            break;
        }
        open = grow(model, &open, longer, &options.adapters)?;
    }
    Ok(ExpectedNumber::new(numbers, dropped))
}

/// A beginning with one more token.
struct Longer {
    from: usize,
    id: u32,
    reading: Reading,
    probability: f64,
}

impl Longer {
    /// The probability, if this is the beginning of a number for sure.
    fn begun(&self) -> f64 {
        self.reading.value().map_or(0.0, |_| self.probability)
    }
}

/// Returns the tokens that may be a part of a number, or white space before one.
fn pieces(tokenizer: &Tokenizer, vocab: usize) -> Vec<(u32, Vec<u8>)> {
    let vocab = u32::try_from(vocab.min(tokenizer.vocab_size())).unwrap_or(u32::MAX);
    let part = |id: u32| {
        let bytes = tokenizer.decode_bytes(id)?;
        let first = bytes.trim_ascii_start().first();
        let may = first.is_none_or(|b| b.is_ascii_digit() || b"+-.".contains(b));
        (may && !bytes.is_empty() && !tokenizer.is_special(id)).then(|| (id, bytes.into_owned()))
    };
    (0..vocab).filter_map(part).collect()
}

/// Takes a beginning one token further.
fn follow(
    beginning: &Beginning,
    from: usize,
    pieces: &[(u32, Vec<u8>)],
    numbers: &mut Vec<(f64, f64)>,
    longer: &mut Vec<Longer>,
) {
    let norm = log_sum_exp(&beginning.logits);
    let mut rest = 1.0;
    for (id, piece) in pieces {
        let Some(&logit) = beginning.logits.get(*id as usize) else {
            continue;
        };
        let p = (f64::from(logit) - norm).exp();
        rest -= p;
        let probability = beginning.probability * p;
        match beginning.reading.push(piece) {
            Read::Open(reading) => longer.push(Longer {
                from,
                id: *id,
                reading,
                probability,
            }),
            Read::Ended(value) => numbers.push((value, probability)),
            Read::None => {}
        }
    }
    // All other tokens end the number.
    if let Some(value) = beginning.reading.value() {
        numbers.push((value, beginning.probability * rest.max(0.0)));
    }
}

fn grow(
    model: &Model,
    open: &[Beginning],
    longer: Vec<Longer>,
    adapters: &[ActiveAdapter],
) -> Result<Vec<Beginning>> {
    let ids: Vec<[u32; 1]> = longer.iter().map(|l| [l.id]).collect();
    let grown = longer.into_iter().filter_map(|l| {
        let cache = &open.get(l.from)?.cache;
        Some(Beginning {
            reading: l.reading,
            probability: l.probability,
            cache: cache.fork(cache.len()),
            logits: Vec::new(),
        })
    });
    let mut grown: Vec<Beginning> = grown.collect();
    let caches = grown.iter_mut().map(|b| &mut b.cache);
    let mut steps: Vec<Step<'_>> = caches
        .zip(&ids)
        .map(|(cache, id)| Step::new(cache, id).with_adapters(adapters))
        .collect();
    let logits = model.forward_batch(&mut steps)?;
    for (beginning, row) in grown.iter_mut().zip(logits) {
        beginning.logits = row;
    }
    Ok(grown)
}

impl LocalModel {
    /// Returns the distribution of the numbers that may follow a text, as [`expected_number`] does;
    /// the text is not put into the chat template.
    ///
    /// # Errors
    /// [`Error::Tokenizer`], or those of [`expected_number`].
    ///
    /// ```no_run
    /// use ropewalk_local::{LocalModel, NumberOptions};
    ///
    /// let model = LocalModel::open("pricer.gguf")?;
    /// if let Some(price) = model.expected_number("Price is $", &NumberOptions::new())? {
    ///     println!("{:.2} ± {:.2} ({:.0} % of the mass)", price.value, price.deviation, 100.0 * price.mass);
    /// }
    /// # Ok::<(), ropewalk_local::Error>(())
    /// ```
    pub fn expected_number(
        &self,
        text: &str,
        options: &NumberOptions,
    ) -> Result<Option<ExpectedNumber>> {
        let ids = self.tokenizer().encode(text, true);
        let ids = ids.map_err(|e| Error::Tokenizer {
            context: "the text before the number cannot be encoded".into(),
            source: Box::new(e),
        })?;
        expected_number(self.model(), self.tokenizer(), &ids, options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&str]) -> Read {
        let mut reading = Reading::begin();
        for piece in pieces {
            match reading.push(piece.as_bytes()) {
                Read::Open(next) => reading = next,
                end => return end,
            }
        }
        Read::Open(reading)
    }

    #[test]
    fn numbers_end_where_they_do_not_go_on() {
        for (pieces, want) in [
            (&[" 12", "."][..], None),
            (&["12", ".", " The"], Some(12.0)),
            (&["12", ".5", "0,"], Some(12.5)),
            (&["-", "3", "\n"], Some(-3.0)),
            (&["1.2.3"], Some(1.2)),
            (&["\n", " 7", " 8"], Some(7.0)),
        ] {
            match (read(pieces), want) {
                (Read::Ended(value), Some(want)) => assert_eq!(value, want, "{pieces:?}"),
                (Read::Open(_), None) => {}
                (found, _) => panic!("{pieces:?}: {found:?}"),
            }
        }
        for pieces in [&["x1"][..], &["-", "x"], &[".5"], &["- 3"]] {
            assert_eq!(read(pieces), Read::None, "{pieces:?}");
        }
    }

    #[test]
    fn tokens_are_numbers_as_python_reads_them() {
        for (text, want) in [
            (" 899", Some(899.0)),
            ("-2.5", Some(-2.5)),
            (".5", Some(0.5)),
            ("1e3", Some(1000.0)),
            ("inf", None),
            ("nan", None),
            ("", None),
            ("12a", None),
        ] {
            assert_eq!(number(text), want, "{text}");
        }
    }

    #[test]
    fn equal_numbers_are_one() {
        let found = ExpectedNumber::new(vec![(2.0, 0.1), (4.0, 0.2), (2.0, 0.1)], 0.0).unwrap();
        assert_eq!(found.numbers.len(), 2);
        assert!((found.value - 3.0).abs() < 1e-12 && (found.deviation - 1.0).abs() < 1e-12);
        assert!((found.mass - 0.4).abs() < 1e-12);
        assert_eq!(ExpectedNumber::new(Vec::new(), 0.5), None);
    }
}
