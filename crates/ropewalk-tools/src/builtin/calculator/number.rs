//! Numbers: fractions of 128-bit integers as long as they fit, then `f64`.

use std::cmp::Ordering;
use std::fmt;

/// A number: exact as long as numerator and denominator fit into 128 bits.
///
/// `Display` writes exact decimals whole (`59.97`, `1606938044258990275541962092341162602522202993782792835301376`
/// is beyond them and becomes `1.60693804425899e60`) and everything else with 15 significant digits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number(Repr);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Repr {
    /// Numerator and denominator without a common factor; the denominator is positive.
    Exact(i128, i128),
    Float(f64),
}

/// Largest exponent of ten that fits into an `i128`.
const MAX_DIGITS: u32 = 38;

impl Number {
    /// Creates a whole number.
    #[must_use]
    pub fn whole(value: i128) -> Self {
        Self(Repr::Exact(value, 1))
    }

    /// Creates a number that is not exact.
    pub(crate) fn float(value: f64) -> Self {
        Self(Repr::Float(value))
    }

    /// Reads digits with at most one point and an exponent, as the scanner found them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::parse_exact(text).or_else(|| text.parse().ok().map(Self::float))
    }

    fn parse_exact(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let part = part.trim_end_matches('0');
        let digits = format!("{whole}{part}").parse::<i128>().ok()?;
        let exponent = exponent.checked_sub(i32::try_from(part.len()).ok()?)?;
        let scale = ten_to(exponent.unsigned_abs())?;
        match exponent < 0 {
            true => Self::ratio(digits, scale),
            false => Some(Self::whole(digits.checked_mul(scale)?)),
        }
    }

    /// Makes a fraction in lowest terms; `None` when it does not fit or `denominator` is 0.
    fn ratio(numerator: i128, denominator: i128) -> Option<Self> {
        let divisor = gcd(numerator.unsigned_abs(), denominator.unsigned_abs());
        let divisor = i128::try_from(divisor).ok().filter(|d| *d != 0)?;
        let (n, d) = (numerator / divisor, denominator / divisor);
        match d.signum() {
            0 => None,
            -1 => Some(Self(Repr::Exact(n.checked_neg()?, d.checked_neg()?))),
            _ => Some(Self(Repr::Exact(n, d))),
        }
    }

    /// Returns the nearest `f64`.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        match self.0 {
            #[expect(clippy::cast_precision_loss, reason = "the nearest number is meant")]
            Repr::Exact(n, d) => n as f64 / d as f64,
            Repr::Float(value) => value,
        }
    }

    /// Returns the value if it is exact and whole.
    #[must_use]
    pub fn as_whole(self) -> Option<i128> {
        match self.0 {
            Repr::Exact(n, 1) => Some(n),
            _ => None,
        }
    }

    /// Returns whether the number is the very result and not the nearest `f64` to it.
    #[must_use]
    pub fn is_exact(self) -> bool {
        matches!(self.0, Repr::Exact(..))
    }

    pub(crate) fn is_zero(self) -> bool {
        self.as_f64() == 0.0
    }

    fn exact(self) -> Option<(i128, i128)> {
        match self.0 {
            Repr::Exact(n, d) => Some((n, d)),
            Repr::Float(_) => None,
        }
    }

    fn both(
        self,
        other: Self,
        exact: impl FnOnce((i128, i128), (i128, i128)) -> Option<Self>,
        float: impl FnOnce(f64, f64) -> f64,
    ) -> Self {
        let exact = self
            .exact()
            .zip(other.exact())
            .and_then(|(a, b)| exact(a, b));
        exact.unwrap_or_else(|| Self::float(float(self.as_f64(), other.as_f64())))
    }

    pub(crate) fn add(self, other: Self) -> Self {
        let exact = |(a, b): (i128, i128), (c, d): (i128, i128)| {
            let common = i128::try_from(gcd(b.unsigned_abs(), d.unsigned_abs())).ok()?;
            let (left, right) = (a.checked_mul(d / common)?, c.checked_mul(b / common)?);
            Self::ratio(left.checked_add(right)?, b.checked_mul(d / common)?)
        };
        self.both(other, exact, |a, b| a + b)
    }

    pub(crate) fn neg(self) -> Self {
        match self.0 {
            Repr::Exact(n, d) => match n.checked_neg() {
                Some(n) => Self(Repr::Exact(n, d)),
                None => Self::float(-self.as_f64()),
            },
            Repr::Float(value) => Self::float(-value),
        }
    }

    pub(crate) fn mul(self, other: Self) -> Self {
        let exact = |(a, b): (i128, i128), (c, d): (i128, i128)| {
            let (x, y) = (Self::ratio(a, d)?.exact()?, Self::ratio(c, b)?.exact()?);
            Self::ratio(x.0.checked_mul(y.0)?, x.1.checked_mul(y.1)?)
        };
        self.both(other, exact, |a, b| a * b)
    }

    /// The caller has refused a divisor of 0.
    pub(crate) fn div(self, other: Self) -> Self {
        let inverse = other.exact().and_then(|(c, d)| Self::ratio(d, c));
        match inverse.filter(|_| self.is_exact()) {
            Some(inverse) => self.mul(inverse),
            None => Self::float(self.as_f64() / other.as_f64()),
        }
    }

    /// The remainder has the sign of `self`. The caller has refused a divisor of 0.
    pub(crate) fn rem(self, other: Self) -> Self {
        let exact = |(a, b): (i128, i128), (c, d): (i128, i128)| {
            let (left, right) = (a.checked_mul(d)?, c.checked_mul(b)?);
            Self::ratio(left.checked_rem(right)?, b.checked_mul(d)?)
        };
        self.both(other, exact, |a, b| a % b)
    }

    pub(crate) fn pow(self, exponent: Self) -> Self {
        let exact = |(a, b): (i128, i128), (e, one): (i128, i128)| {
            let power = u32::try_from(e.unsigned_abs()).ok().filter(|_| one == 1)?;
            let (n, d) = (a.checked_pow(power)?, b.checked_pow(power)?);
            match e < 0 {
                true => Self::ratio(d, n),
                false => Self::ratio(n, d),
            }
        };
        self.both(exponent, exact, f64::powf)
    }

    pub(crate) fn abs(self) -> Self {
        match self.is_negative() {
            true => self.neg(),
            false => self,
        }
    }

    pub(crate) fn is_negative(self) -> bool {
        match self.0 {
            Repr::Exact(n, _) => n < 0,
            Repr::Float(value) => value < 0.0,
        }
    }

    pub(crate) fn sqrt(self) -> Self {
        let root = |n: i128| {
            let n = n.unsigned_abs();
            let root = n.isqrt();
            (root * root == n)
                .then(|| i128::try_from(root).ok())
                .flatten()
        };
        let exact = self
            .exact()
            .and_then(|(n, d)| Self::ratio(root(n)?, root(d)?));
        exact.unwrap_or_else(|| Self::float(self.as_f64().sqrt()))
    }

    pub(crate) fn floor(self) -> Self {
        match self.0 {
            Repr::Exact(n, d) => Self::whole(n.div_euclid(d)),
            Repr::Float(value) => Self::float(value.floor()),
        }
    }

    pub(crate) fn ceil(self) -> Self {
        self.neg().floor().neg()
    }

    /// Rounds to so many digits after the point; halves away from 0.
    pub(crate) fn round(self, digits: u32) -> Self {
        let exact = |digits| {
            let scale = Self::whole(ten_to(digits)?);
            let half = Self::ratio(1, 2)?;
            let scaled = self.abs().mul(scale).add(half).floor();
            let rounded = scaled.exact().map(|_| scaled.div(scale))?;
            Some(if self.is_negative() {
                rounded.neg()
            } else {
                rounded
            })
        };
        let float = |value: f64| {
            // Up to this many digits the shortest text of an `f64` may have after its point.
            let text = format!("{value:.*}", digits.min(400) as usize);
            text.parse().unwrap_or(value)
        };
        match self.0 {
            Repr::Exact(_, 1) => self,
            Repr::Exact(..) => exact(digits).unwrap_or_else(|| Self::float(float(self.as_f64()))),
            Repr::Float(value) => Self::float(float(value)),
        }
    }

    pub(crate) fn compare(self, other: Self) -> Ordering {
        let exact = self
            .exact()
            .zip(other.exact())
            .and_then(|((a, b), (c, d))| Some(a.checked_mul(d)?.cmp(&c.checked_mul(b)?)));
        exact.unwrap_or_else(|| self.as_f64().total_cmp(&other.as_f64()))
    }

    /// Returns the digits of a fraction whose decimal digits end, at most 30 after the point.
    fn decimal(n: i128, d: i128) -> Option<String> {
        let digits = (0..=30).find(|k| ten_to(*k).is_some_and(|t| t % d == 0))?;
        let scaled = n.checked_mul(ten_to(digits)? / d)?;
        let text = scaled.unsigned_abs().to_string();
        let digits = digits as usize;
        let text = format!("{text:0>width$}", width = digits + 1);
        let (whole, part) = text.split_at(text.len() - digits);
        let sign = if scaled < 0 { "-" } else { "" };
        let point = if digits == 0 { "" } else { "." };
        Some(format!("{sign}{whole}{point}{part}"))
    }
}

fn ten_to(exponent: u32) -> Option<i128> {
    (exponent <= MAX_DIGITS).then(|| 10_i128.pow(exponent))
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.exact().and_then(|(n, d)| Self::decimal(n, d)) {
            return f.write_str(&text);
        }
        let value = self.as_f64();
        let value: f64 = format!("{value:.14e}").parse().unwrap_or(value);
        let size = value.abs();
        match size != 0.0 && !(1e-6..1e21).contains(&size) {
            true => write!(f, "{value:e}"),
            false => write!(f, "{}", if size == 0.0 { 0.0 } else { value }),
        }
    }
}
