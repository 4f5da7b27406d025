//! Conversations of the small world, made from a seed.

use std::collections::HashSet;

use ropewalk::train::Rng;

use crate::cities;
use crate::more;
use crate::phrases::{self as ph};
use crate::topics::{self as tp};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

/// A conversation before it becomes tokens.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    /// The system message.
    pub system: Option<String>,
    /// The tool definition, as JSON.
    pub tool: Option<String>,
    /// What was said.
    pub turns: Vec<(Role, String)>,
    /// What it may contain.
    pub stage: Stage,
}

/// What the training data contains at some point of the run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stage {
    /// Share of copying exercises.
    pub drills: f32,
    /// Whether half of the tool results are JSON without spaces.
    pub compact: bool,
    /// Whether the phrasings of [`more`] are used.
    pub more: bool,
    /// Whether questions are disturbed: words dropped or replaced, sentences around them.
    pub noise: bool,
    /// Whether questions are taken apart: words left out, words after the city, mere words around it.
    pub hard: bool,
    /// Whether the words after a city are any words at all.
    pub wide: bool,
}

impl Stage {
    /// Held-out conversations.
    pub const HELD: Self = Self {
        drills: 0.04,
        compact: true,
        more: false,
        noise: false,
        hard: false,
        wide: false,
    };
    /// The end of the first part of the run.
    pub const LAST: Self = Self {
        drills: 0.12,
        compact: true,
        more: true,
        noise: true,
        hard: false,
        wide: false,
    };
    /// The second part of the run.
    pub const SECOND: Self = Self {
        drills: 0.15,
        compact: true,
        more: true,
        noise: true,
        hard: true,
        wide: false,
    };
    /// The third part of the run.
    pub const THIRD: Self = Self {
        wide: true,
        ..Self::SECOND
    };

    /// The stage of update `step` of the first part, each stage being `length` updates long. Copying begins with many exercises, pauses
    /// while the answers are learned, and comes back until names are copied without a slip; more phrasings follow, and
    /// disturbed ones.
    pub fn at(step: u64, length: u64) -> Self {
        let stage = step / length.max(1);
        Self {
            drills: match stage {
                0 => 0.6,
                1 | 2 => 0.04,
                3..=5 => 0.4,
                _ => Self::LAST.drills,
            },
            compact: stage >= 3,
            more: stage >= 3,
            noise: stage >= 6,
            hard: false,
            wide: false,
        }
    }
}

/// Which lists the evaluation draws from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unseen {
    /// Phrasings outside training.
    pub phrasing: bool,
    /// Of those, the list that was read by nobody until the end.
    pub fresh: bool,
    /// City names outside training.
    pub city: bool,
}

/// Expands `{a|b}` groups, choosing each branch at random.
pub fn expand(rng: &mut Rng, text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let (mut depth, mut cuts, mut end) = (0, vec![open], rest.len());
        for (i, c) in rest.char_indices().skip_while(|&(i, _)| i < open) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                '|' if depth == 1 => cuts.push(i),
                _ => {}
            }
            if depth == 0 {
                end = i;
                break;
            }
        }
        cuts.push(end);
        let i = rng.below(cuts.len() - 1);
        out.push_str(&expand(rng, &rest[cuts[i] + 1..cuts[i + 1]]));
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out
}

fn one<'a>(rng: &mut Rng, list: &[&'a str]) -> &'a str {
    rng.pick(list).copied().unwrap_or("")
}

fn say(rng: &mut Rng, list: &[&str]) -> String {
    let text = one(rng, list);
    expand(rng, text).trim().to_owned()
}

fn capital(s: &str) -> String {
    let mut c = s.chars();
    c.next()
        .map_or_else(String::new, |f| f.to_uppercase().chain(c).collect())
}

/// Letters in no order of a language, so that no piece of a name can be guessed.
fn letters(rng: &mut Rng) -> String {
    let list: Vec<char> = "abcdefghijklmnopqrstuvwxyzaeiouaeiou".chars().collect();
    let text: String = (0..3 + rng.below(7))
        .filter_map(|_| rng.pick(&list))
        .collect();
    capital(&text)
}

/// A made-up name that is no held-out city.
fn made_up(rng: &mut Rng) -> String {
    let held: HashSet<&str> = cities::HELD.iter().copied().collect();
    loop {
        let word = |rng: &mut Rng| {
            let mut w = String::new();
            for _ in 0..1 + rng.below(3) + rng.below(2) {
                w.push_str(one(rng, cities::ONSET));
                w.push_str(one(rng, cities::VOWEL));
                w.push_str(one(rng, cities::CODA));
            }
            if rng.chance(0.25) {
                w.push_str(one(rng, cities::TAIL));
            }
            capital(&w)
        };
        let mut name = if rng.chance(0.15) {
            letters(rng)
        } else {
            word(rng)
        };
        match rng.below(20) {
            0 => name = format!("{} {name}", one(rng, cities::BEFORE)),
            1 => name = format!("{name} {}", one(rng, cities::AFTER)),
            2 => name = format!("{name} {}", word(rng)),
            3 => name = format!("{name}-{}", word(rng)),
            _ => {}
        }
        if !held.contains(name.as_str()) && (3..=24).contains(&name.chars().count()) {
            return name;
        }
    }
}

/// A city; held-out ones only when asked for.
pub fn city(rng: &mut Rng, unseen: bool) -> String {
    if unseen {
        return one(rng, cities::HELD).to_owned();
    }
    let name = if rng.chance(0.25) {
        one(rng, cities::SEEN).to_owned()
    } else if rng.chance(0.2) {
        // Parts of real names in new orders.
        let (a, b): (Vec<char>, Vec<char>) = (
            one(rng, cities::SEEN).chars().collect(),
            one(rng, cities::SEEN).chars().collect(),
        );
        let (i, j) = (1 + rng.below(a.len() - 1), rng.below(b.len() - 1));
        let joined: String = a[..i].iter().chain(&b[j..]).collect();
        let joined = joined
            .split_whitespace()
            .map(capital)
            .collect::<Vec<_>>()
            .join(" ");
        if cities::HELD.contains(&joined.as_str()) || joined.chars().count() < 3 {
            made_up(rng)
        } else {
            joined
        }
    } else {
        made_up(rng)
    };
    if rng.chance(0.06) {
        name.to_lowercase()
    } else {
        name
    }
}

/// A name for training. The second part makes a third of them of fragments of words, so that every piece of the
/// vocabulary is copied now and then.
fn name(rng: &mut Rng, stage: Stage) -> String {
    if !(stage.hard && rng.chance(0.35)) {
        return city(rng, false);
    }
    loop {
        let mut text = String::new();
        for _ in 0..1 + rng.below(4) {
            let phrase = match rng.below(4) {
                0 => one(rng, ph::PRICE),
                1 => one(rng, more::WORDS),
                2 => one(rng, tp::FRAMES),
                _ => rng.pick(tp::TOPICS).map_or("", |t| t.1),
            };
            let letters: Vec<char> = phrase.chars().filter(|c| c.is_ascii_lowercase()).collect();
            let from = rng.below(letters.len().max(1));
            let to = (from + 2 + rng.below(4)).min(letters.len());
            text.extend(&letters[from..to]);
        }
        let text = capital(&text);
        let taken = cities::HELD.iter().any(|c| c.eq_ignore_ascii_case(&text));
        if (3..=16).contains(&text.len()) && !taken {
            return text;
        }
    }
}

fn price(rng: &mut Rng) -> String {
    let n = match rng.below(10) {
        0 => 10 + rng.below(90),
        1..=6 => 100 + rng.below(900),
        _ => 1000 + rng.below(9000),
    };
    if rng.chance(0.5) {
        format!("${}", n / 10 * 10 + 9)
    } else {
        format!("${n}")
    }
}

const SYSTEMS: &[&str] = &[
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are the assistant of Larkspur Air. {Give short, polite answers.|Answer in one sentence.|Be brief.} If you do not know the answer, say so.",
    "You are the assistant of Larkspur Air. Give short, polite answers. If you do not know the answer, say so.",
    "You {help|work} at the {desk|help desk} of an airline called $W. {Be polite and brief.|Give short answers.|Always be accurate.}",
    "You are a helpful assistant for an airline called $W. Give short, courteous answers, no more than 1 sentence. Always be accurate. If you don't know the answer, say so.",
    "You are a {friendly|polite|helpful|kind|short-spoken} {assistant|bot|helper}{| of an airline| for travellers}.",
    "{Be brief.|Answer politely.|Help the customer.}",
];

const AIRLINES: &[&str] = &[
    "FlightAI",
    "Larkspur Air",
    "SkyHigh",
    "Blue Wing",
    "Air Comet",
    "Northern Air",
    "Swift",
    "JetLine",
    "Falcon Air",
    "Sunways",
];

fn system(rng: &mut Rng) -> Option<String> {
    if rng.chance(0.3) {
        return None;
    }
    let text = say(rng, SYSTEMS);
    Some(text.replace("$W", one(rng, AIRLINES)))
}

/// The tool as the chat template shows it to the model: name and parameters.
pub const TOOL: &str = r#"{"name": "get_ticket_price", "parameters": ["destination_city"]}"#;

fn tool(rng: &mut Rng) -> String {
    let name = one(
        rng,
        &[
            "destination_city",
            "destination_city",
            "destination_city",
            "destination_city",
            "city",
            "destination",
        ],
    );
    TOOL.replace("destination_city", name)
}

/// The text of a call for one city.
pub fn call(city: &str) -> String {
    format!(
        "<tool_call>\n{{\"name\": \"get_ticket_price\", \"arguments\": {{\"destination_city\": \"{city}\"}}}}\n</tool_call>"
    )
}

fn tool_result(rng: &mut Rng, city: &str, price: &str) -> String {
    match rng.below(6) {
        0 | 1 => format!("{{\"destination_city\": \"{city}\", \"price\": \"{price}\"}}"),
        2 => format!("{{\"city\": \"{city}\", \"price\": \"{price}\"}}"),
        3 => format!("{{\"price\": \"{price}\"}}"),
        4 => price.to_owned(),
        _ => format!(
            "The price of a ticket to {city} is {price}{}",
            one(rng, &["", "."])
        ),
    }
}

fn tool_unknown(rng: &mut Rng, city: &str) -> String {
    match rng.below(6) {
        0 => "unknown".to_owned(),
        1 => "Unknown".to_owned(),
        2 => format!("{{\"destination_city\": \"{city}\", \"price\": \"unknown\"}}"),
        3 => format!("{{\"destination_city\": \"{city}\", \"price\": null}}"),
        4 => format!("{{\"error\": \"no price for {city}\"}}"),
        _ => "not found".to_owned(),
    }
}

/// A question for a price, filled with `city`.
pub fn price_question(rng: &mut Rng, unseen: Unseen, city: &str) -> String {
    let list = match unseen {
        Unseen { fresh: true, .. } => ph::PRICE_FRESH,
        Unseen { phrasing: true, .. } => ph::PRICE_HELD,
        _ => ph::PRICE,
    };
    let core = say(rng, list);
    decorate(rng, core, unseen.phrasing).replace("$C", city)
}

/// What the last stage does to a question besides [`decorate`]: sentences around it, and words dropped, replaced, doubled
/// or swapped. Placeholders stay.
fn disturb(rng: &mut Rng, core: String) -> String {
    let mut text = core;
    if rng.chance(0.35) {
        let mut words: Vec<&str> = text.split(' ').collect();
        for _ in 0..1 + rng.below(2) {
            let i = rng.below(words.len());
            if words.len() < 3 || words[i].contains('$') {
                continue;
            }
            match rng.below(4) {
                0 => drop(words.remove(i)),
                1 => words[i] = one(rng, more::WORDS),
                2 => words.insert(i, one(rng, more::WORDS)),
                _ if i > 0 && !words[i - 1].contains('$') => words.swap(i - 1, i),
                _ => {}
            }
        }
        text = words.join(" ");
    }
    if rng.chance(0.15) {
        text = format!("{} {text}", say(rng, more::ASIDE));
    }
    if rng.chance(0.08) {
        text = format!("{text} {}", say(rng, more::ASIDE));
    }
    text
}

/// What the second part does to a question for a price before the city is put in: words after the city, or nothing but
/// words around it of which one or two speak of prices or journeys.
fn scatter(rng: &mut Rng, core: String, wide: bool) -> String {
    let words =
        |rng: &mut Rng, n: usize| -> Vec<&str> { (0..n).map(|_| one(rng, more::WORDS)).collect() };
    if rng.chance(0.3) {
        let n = 1 + rng.below(2);
        let tail = match wide {
            true => (0..n).map(|_| any_word(rng)).collect::<Vec<_>>().join(" "),
            false => words(rng, n).join(" "),
        };
        return core.replacen("$C", &format!("$C {tail}"), 1);
    }
    if !rng.chance(0.15) {
        return core;
    }
    let n = 2 + rng.below(5);
    let mut before = words(rng, n);
    for _ in 0..1 + rng.below(2) {
        before.insert(rng.below(before.len() + 1), one(rng, more::PRICE_WORDS));
    }
    let n = rng.below(3);
    let after = words(rng, n);
    let to = one(rng, &["to", "to", "for", "in", ""]);
    let end = one(rng, &["?", "?", ".", ""]);
    let text = [&before[..], &[to, "$C"], &after[..]].concat().join(" ");
    capital(&text.replace("  ", " ")) + end
}

/// A word of any text that training sees.
fn any_word(rng: &mut Rng) -> String {
    let text = match rng.below(4) {
        0 => one(rng, more::WORDS),
        1 => one(rng, more::PRICE_WORDS),
        2 => rng.pick(ph::DESK).map_or("", |d| d.2),
        _ => rng.pick(tp::TOPICS).map_or("", |t| t.1),
    };
    let words: Vec<&str> = text.split([' ', ',', '.', ';', ':']).collect();
    let word = one(rng, &words).to_lowercase();
    if word.is_empty() {
        "then".to_owned()
    } else {
        word
    }
}

/// Leaves words out of a question.
fn thin(rng: &mut Rng, core: String) -> String {
    let words: Vec<&str> = core.split(' ').collect();
    if words.len() < 4 || !rng.chance(0.3) {
        return core;
    }
    let kept: Vec<&str> = words.into_iter().filter(|_| !rng.chance(0.2)).collect();
    kept.join(" ")
}

/// Openers, closers and careless typing; never on held-out phrasings.
fn decorate(rng: &mut Rng, core: String, unseen: bool) -> String {
    if unseen {
        return core;
    }
    let mut text = core;
    if rng.chance(0.2) {
        let o = one(
            rng,
            &[
                "Hi, ",
                "Hello, ",
                "Hello. ",
                "Hi! ",
                "Hey, ",
                "Good morning. ",
                "Excuse me, ",
                "Please, ",
                "Sorry, ",
                "OK, ",
                "So, ",
                "Well, ",
                "Um, ",
                "Hello! ",
                "One question: ",
                "Now, ",
                "And ",
                "Tell me, ",
            ],
        );
        text = format!("{o}{text}");
    }
    if rng.chance(0.08) {
        let c = one(
            rng,
            &[
                " Thanks.",
                " Thank you.",
                " Please.",
                " Thanks!",
                " I am in a hurry.",
                " Just curious.",
            ],
        );
        text.push_str(c);
    }
    if rng.chance(0.08) {
        text = text.trim_end_matches(['?', '.', '!']).to_owned();
    }
    if rng.chance(0.08) {
        let mut c = text.chars();
        text = c
            .next()
            .map_or_else(String::new, |f| f.to_lowercase().chain(c).collect());
    }
    text
}

/// A question outside the world.
pub fn unknown_question(rng: &mut Rng, unseen: bool) -> String {
    if unseen {
        return one(rng, tp::UNKNOWN_HELD).to_owned();
    }
    let Some((frames, words)) = rng.pick(tp::UNKNOWN) else {
        return String::new();
    };
    // The frames of known topics too, so that the words decide and not the frame.
    let shared = rng.chance(0.35) && words.len() > 1;
    let mut text = say(rng, if shared { tp::FRAMES } else { frames });
    let mut word = one(rng, words).to_owned();
    if rng.chance(0.15) {
        word = made_up(rng);
        if rng.chance(0.5) {
            word = word.to_lowercase();
        }
    }
    text = text.replace("$W", &word);
    if text.contains("$C") {
        text = text.replace("$C", &city(rng, false));
    }
    while text.contains("$N") {
        let digits = 1 + rng.below(3) as u32;
        text = text.replacen("$N", &rng.below(10usize.pow(digits)).to_string(), 1);
    }
    text = text.replace("$Y", &(1000 + rng.below(1030)).to_string());
    decorate(rng, text, false)
}

/// A question of the project, the desk or small talk with its answer.
pub fn known_question(rng: &mut Rng, kind: Known, unseen: bool, more: bool) -> (String, String) {
    let (question, answer) = match kind {
        Known::Topic => {
            let Some((names, answer)) = rng.pick(tp::TOPICS) else {
                return Default::default();
            };
            let frame = say(rng, if unseen { tp::FRAMES_HELD } else { tp::FRAMES });
            (
                capital(&frame.replace("$W", one(rng, names))),
                (*answer).to_owned(),
            )
        }
        _ => {
            let (list, further) = match kind {
                Known::Project => (tp::PROJECT, more::PROJECT),
                Known::Desk => (ph::DESK, more::DESK),
                _ => (ph::TALK, more::TALK),
            };
            let at = rng.below(list.len());
            let (seen, held, answer) = list[at];
            let phrasings = match unseen {
                true => held,
                false if more && rng.chance(0.4) => further[at],
                false => seen,
            };
            (say(rng, phrasings), answer.to_owned())
        }
    };
    let plain = unseen || kind == Known::Talk;
    (decorate(rng, question, plain), answer)
}

/// Kinds of questions that have a fixed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// "What is X".
    Topic,
    /// Other questions about the project.
    Project,
    /// About the airline.
    Desk,
    /// Small talk.
    Talk,
}

/// Takes the spaces out of half of the JSON results, as other programs write it.
fn spaced(rng: &mut Rng, c: &Conversation, result: String) -> String {
    if !c.stage.compact || !result.starts_with('{') || rng.chance(0.5) {
        return result;
    }
    result.replace("\": ", "\":").replace(", \"", ",\"")
}

/// A call with the parameter's name as the conversation's tool has it.
fn named(c: &Conversation, call: String) -> String {
    let name = c
        .tool
        .as_deref()
        .and_then(|t| t.split('"').nth(7))
        .unwrap_or("destination_city");
    call.replace("\"destination_city\"", &format!("\"{name}\""))
}

fn add_price(rng: &mut Rng, c: &mut Conversation, question: String, city: &str) {
    c.turns.push((Role::User, question));
    add_call(rng, c, city);
}

fn add_call(rng: &mut Rng, c: &mut Conversation, city: &str) {
    if c.tool.is_none() {
        c.turns.push((Role::Assistant, say(rng, ph::NO_TOOL)));
        return;
    }
    let call = named(c, call(city));
    c.turns.push((Role::Assistant, call));
    if rng.chance(0.15) {
        let result = tool_unknown(rng, city);
        let result = spaced(rng, c, result);
        c.turns.push((Role::Tool, result));
        c.turns
            .push((Role::Assistant, say(rng, ph::NO_PRICE).replace("$C", city)));
    } else {
        let p = price(rng);
        let result = tool_result(rng, city, &p);
        let result = spaced(rng, c, result);
        c.turns.push((Role::Tool, result));
        c.turns.push((
            Role::Assistant,
            say(rng, ph::STATE).replace("$C", city).replace("$P", &p),
        ));
        if rng.chance(0.2)
            && let Some((q, a)) = rng.pick(ph::AFTER)
        {
            c.turns.push((Role::User, expand(rng, q)));
            c.turns.push((Role::Assistant, (*a).to_owned()));
        }
    }
}

fn add_both(rng: &mut Rng, c: &mut Conversation) {
    let (a, b) = (name(rng, c.stage), name(rng, c.stage));
    let q = say(rng, ph::BOTH);
    c.turns.push((
        Role::User,
        decorate(rng, q, false).replace("$C", &a).replace("$D", &b),
    ));
    if c.tool.is_none() {
        c.turns.push((Role::Assistant, say(rng, ph::NO_TOOL)));
        return;
    }
    let calls = named(c, format!("{}\n{}", call(&a), call(&b)));
    c.turns.push((Role::Assistant, calls));
    let (p, q) = (price(rng), price(rng));
    let style = rng.clone();
    for (city, price) in [(&a, &p), (&b, &q)] {
        let r = &mut style.clone();
        let result = tool_result(r, city, price);
        let result = spaced(r, c, result);
        c.turns.push((Role::Tool, result));
    }
    let text = say(rng, ph::STATE_BOTH)
        .replace("$C", &a)
        .replace("$D", &b)
        .replace("$P", &p)
        .replace("$Q", &q);
    c.turns.push((Role::Assistant, text));
}

/// Adds one exchange of a random kind.
fn exchange(rng: &mut Rng, c: &mut Conversation) {
    // The second part asks more about the desk and the project and talks more.
    let kind = match rng.below(100) {
        k if !c.stage.hard => k,
        k => match k {
            0..5 => 80,
            5..10 => 90,
            40 | 41 => 92,
            43..50 => 95,
            50..53 => 85,
            k => k,
        },
    };
    match kind {
        0..36 => {
            let name = name(rng, c.stage);
            let follow = c.turns.iter().any(|(r, _)| *r == Role::Tool) && rng.chance(0.5);
            let q = if follow {
                say(rng, ph::NEXT).replace("$C", &name)
            } else {
                let more = c.stage.more && rng.chance(0.5);
                let core = say(rng, if more { more::PRICE } else { ph::PRICE });
                let core = if c.stage.noise {
                    disturb(rng, core)
                } else {
                    core
                };
                let core = if c.stage.hard {
                    scatter(rng, core, c.stage.wide)
                } else {
                    core
                };
                decorate(rng, core, false).replace("$C", &name)
            };
            add_price(rng, c, q, &name);
        }
        36..40 => add_both(rng, c),
        40..43 => {
            let q = say(rng, ph::NOWHERE);
            let q = decorate(rng, q, false);
            if c.tool.is_some() {
                c.turns.push((Role::User, q));
                c.turns.push((Role::Assistant, say(rng, ph::WHICH)));
                let name = name(rng, c.stage);
                let q = say(rng, ph::CITY_ONLY).replace("$C", &name);
                add_price(rng, c, q, &name);
            } else {
                c.turns.push((Role::User, q));
                c.turns.push((Role::Assistant, say(rng, ph::NO_TOOL)));
            }
        }
        43..67 => {
            let q = if c.stage.more && rng.chance(0.4) {
                let core = say(rng, more::UNKNOWN);
                decorate(rng, core, false)
            } else {
                unknown_question(rng, false)
            };
            let q = if c.stage.noise { disturb(rng, q) } else { q };
            c.turns.push((Role::User, q));
            c.turns.push((Role::Assistant, say(rng, tp::REFUSAL)));
        }
        k => {
            let kind = match k {
                67..79 => Known::Topic,
                79..88 => Known::Project,
                88..93 => Known::Desk,
                _ => Known::Talk,
            };
            let (q, a) = known_question(rng, kind, false, c.stage.more);
            let q = if c.stage.noise && q.len() > 12 {
                disturb(rng, q)
            } else {
                q
            };
            let q = if c.stage.hard { thin(rng, q) } else { q };
            c.turns.push((Role::User, q));
            c.turns.push((Role::Assistant, a));
        }
    }
}

/// Asks for words to be repeated: a dense exercise in copying names.
fn drill(rng: &mut Rng, stage: Stage) -> Conversation {
    let mut c = Conversation::default();
    for _ in 0..1 + rng.below(2) {
        let words: Vec<String> = (0..1 + rng.below(3)).map(|_| name(rng, stage)).collect();
        let list = words.join(", ");
        let frame = say(
            rng,
            &[
                "{Repeat|Say|Write|Echo}{| after me}: $C",
                "{Can you|Please|Could you} {repeat|say|spell|write} $C{?|.|}",
                "{Say|Repeat} $C{.||!| again.}",
            ],
        );
        c.turns.push((Role::User, frame.replace("$C", &list)));
        c.turns.push((Role::Assistant, list));
    }
    c
}

/// Training conversation number `index` under `seed`.
pub fn conversation(seed: u64, index: u64, stage: Stage) -> Conversation {
    let mut rng = Rng::new(seed, 0xC04, index);
    if rng.chance(stage.drills) {
        return drill(&mut rng, stage);
    }
    let mut c = Conversation {
        system: system(&mut rng),
        tool: None,
        turns: Vec::new(),
        stage,
    };
    if rng.chance(0.8) {
        c.tool = Some(tool(&mut rng));
    }
    for _ in 0..1 + rng.below(3) + rng.below(2) {
        exchange(&mut rng, &mut c);
    }
    c
}

/// One prompt of the evaluation: a conversation that ends with a user or tool turn.
pub fn prompt(rng: &mut Rng, with_tool: bool, question: String) -> Conversation {
    let system = system(rng);
    let tool = with_tool.then(|| TOOL.to_owned());
    Conversation {
        system,
        tool,
        turns: vec![(Role::User, question)],
        stage: Stage::HELD,
    }
}

/// Adds the model's call and a result with a random price; returns the price.
pub fn answer_call(rng: &mut Rng, c: &mut Conversation, city: &str) -> String {
    let p = price(rng);
    c.turns.push((Role::Assistant, call(city)));
    let result = tool_result(rng, city, &p);
    let result = spaced(rng, c, result);
    c.turns.push((Role::Tool, result));
    p
}

/// Every expansion of a phrase.
pub fn expansions(text: &str) -> Vec<String> {
    let Some(open) = text.find('{') else {
        return vec![text.to_owned()];
    };
    let (mut depth, mut cuts, mut end) = (0, vec![open], text.len());
    for (i, ch) in text.char_indices().skip_while(|&(i, _)| i < open) {
        match ch {
            '{' => depth += 1,
            '}' => depth -= 1,
            '|' if depth == 1 => cuts.push(i),
            _ => {}
        }
        if depth == 0 {
            end = i;
            break;
        }
    }
    cuts.push(end);
    let mut out = Vec::new();
    for w in cuts.windows(2) {
        for tail in expansions(&format!("{}{}", &text[w[0] + 1..w[1]], &text[end + 1..])) {
            out.push(format!("{}{tail}", &text[..open]));
        }
    }
    out
}

/// Says what the evaluation would share with training: held-out cities among training's, held-out phrasings among
/// all expansions of training's. Empty when the sets are disjoint.
pub fn overlap() -> Vec<String> {
    let norm = |s: &str| s.trim().trim_end_matches(['?', '.', '!']).to_lowercase();
    let mut seen: HashSet<String> = HashSet::new();
    let mut add = |list: &[&str]| {
        for p in list {
            seen.extend(expansions(p).iter().map(|s| norm(s)));
        }
    };
    [
        more::PRICE,
        more::UNKNOWN,
        ph::PRICE,
        ph::BOTH,
        ph::NEXT,
        ph::NOWHERE,
        ph::CITY_ONLY,
        tp::FRAMES,
    ]
    .iter()
    .for_each(|l| add(l));
    tp::PROJECT
        .iter()
        .chain(ph::DESK)
        .chain(ph::TALK)
        .for_each(|(s, _, _)| add(s));
    [more::PROJECT, more::DESK, more::TALK]
        .iter()
        .for_each(|l| l.iter().for_each(|l| add(l)));
    for (frames, words) in tp::UNKNOWN {
        for f in frames.iter() {
            for e in expansions(f) {
                words.iter().for_each(|w| add(&[&e.replace("$W", w)]));
            }
        }
    }
    let held = [
        ph::PRICE_HELD,
        ph::PRICE_FRESH,
        tp::FRAMES_HELD,
        tp::UNKNOWN_HELD,
    ]
    .concat();
    let held = held.into_iter().chain(
        tp::PROJECT
            .iter()
            .chain(ph::DESK)
            .chain(ph::TALK)
            .flat_map(|(_, h, _)| h.iter().copied()),
    );
    let mut out: Vec<String> = held
        .filter(|h| seen.contains(&norm(h)))
        .map(str::to_owned)
        .collect();
    let cities: HashSet<String> = cities::SEEN.iter().map(|c| c.to_lowercase()).collect();
    out.extend(
        cities::HELD
            .iter()
            .filter(|c| cities.contains(&c.to_lowercase()))
            .map(|c| (*c).to_owned()),
    );
    out
}

/// Texts to train the tokenizer on. City names are left out and capitalised words begin a line, so that a name is cut
/// the same way after a space as after a quotation mark and copying it is copying pieces.
pub fn corpus(seed: u64, size: u64) -> Vec<String> {
    let mut out = Vec::new();
    for index in 0..size {
        let mut rng = Rng::new(seed, 0xB9E, index);
        let r = &mut rng;
        let mut add = |s: String| out.push(s);
        add(price_question(r, Unseen::default(), ""));
        add(say(r, ph::NEXT).replace("$C", ""));
        add(unknown_question(r, false));
        if index % 8 == 0 {
            add(drill(r, Stage::HELD).turns.remove(0).1);
        }
        let kinds = [Known::Topic, Known::Project, Known::Desk, Known::Talk];
        let kind = rng.pick(&kinds).copied().unwrap_or(Known::Talk);
        let r = &mut rng;
        let (q, a) = known_question(r, kind, false, true);
        add(q);
        add(a);
        if index % 4 == 0 {
            add(call(""));
            let p = price(r);
            add(tool_result(r, "", &p));
            add(say(r, ph::STATE).replace("$C", "").replace("$P", &p));
            add(tool(r));
            add(system(r).unwrap_or_default());
        }
        match index % 16 {
            0 => add(say(r, ph::BOTH).replace("$C", "").replace("$D", "")),
            1 => add(tool_unknown(r, "")),
            2 => add(say(r, ph::NO_PRICE).replace("$C", "")),
            3 => add(say(r, ph::NO_TOOL)),
            4 => add(say(r, tp::REFUSAL)),
            5 => add(say(r, ph::NOWHERE)),
            6 => add(say(r, ph::WHICH)),
            7 => add(say(r, ph::CITY_ONLY).replace("$C", "")),
            8 => add(say(r, ph::STATE_BOTH)
                .replace("$C", "")
                .replace("$D", "")
                .replace("$P", "$")
                .replace("$Q", "$")),
            9 => {
                if let Some((q, a)) = rng.pick(ph::AFTER) {
                    add(expand(&mut Rng::new(seed, 1, index), q));
                    add((*a).to_owned());
                }
            }
            _ => {}
        }
    }
    for text in &mut out {
        let mut cut = String::with_capacity(text.len());
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let upper = chars.peek().is_some_and(|n| n.is_uppercase());
            cut.push(if c == ' ' && upper { '\n' } else { c });
        }
        *text = cut;
    }
    out
}
