//! Surprise and entropy over the tokens, as SVG.

use std::fmt::Write;

use super::{TokenView, ViewToken};

const HEIGHT: f64 = 120.0;
/// Room for the labels of the axis.
const LEFT: f64 = 34.0;
/// Room above, so that the highest line is not cut.
const TOP: f64 = 8.0;

/// Draws a bar of surprise for each token and a line of the entropy, in bits.
pub(super) fn chart(view: &TokenView) -> String {
    let n = view.tokens.len();
    if n == 0 {
        return String::new();
    }
    let surprise = |i: usize| {
        let bits = -f64::from(view.tokens[i].logprob) / std::f64::consts::LN_2;
        if bits.is_finite() { bits.max(0.0) } else { 0.0 }
    };
    let entropy: Vec<Option<f64>> = view.tokens.iter().map(ViewToken::entropy).collect();
    let all = (0..n)
        .map(surprise)
        .chain(entropy.iter().flatten().copied());
    let most = all.fold(1.0_f64, f64::max).ceil();
    let step = (720.0 / n as f64).clamp(3.0, 24.0);
    let width = LEFT + step * n as f64;
    let y = |bits: f64| TOP + (HEIGHT - TOP) * (1.0 - bits / most);
    let mut svg = String::new();
    _ = write!(
        svg,
        "<svg viewBox=\"0 0 {width:.1} {:.1}\" style=\"min-width:{:.0}px\" role=\"img\" \
         aria-label=\"Surprise and entropy of each token in bits\">",
        // Half a label fits below.
        HEIGHT + 5.0,
        width.min(3_000.0),
    );
    for bits in [0.0, most / 2.0, most] {
        let at = y(bits);
        _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{width:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{bits:.1}</text>",
            LEFT - 5.0,
            at + 3.5,
        );
    }
    for i in 0..n {
        let top = y(surprise(i));
        _ = write!(
            svg,
            "<rect data-i=\"{i}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            LEFT + step * i as f64 + 0.1 * step,
            0.8 * step,
            (HEIGHT - top).max(0.5),
        );
    }
    // A line for each run of tokens with alternatives.
    let mut pen = "M";
    let mut path = String::new();
    for (i, bits) in entropy.iter().enumerate() {
        let Some(bits) = bits else {
            pen = "M";
            continue;
        };
        let x = LEFT + step * (i as f64 + 0.5);
        _ = write!(path, "{pen}{x:.1} {:.1}", y(*bits));
        pen = "L";
    }
    if !path.is_empty() {
        _ = write!(svg, "<path d=\"{path}\"/>");
    }
    svg.push_str("</svg>");
    svg
}
