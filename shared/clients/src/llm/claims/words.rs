//! Quotations, names and instructions in a sentence.

use std::collections::BTreeSet;

/// Sentences that begin like this tell somebody to do it.
const ORDERS: &[&str] = &[
    "apply", "approve", "ask", "call", "cancel", "change", "check", "click", "close", "contact",
    "copy", "delete", "disable", "do", "don't", "drop", "enable", "ensure", "execute", "fetch",
    "follow", "forget", "forward", "give", "grant", "go", "install", "kill", "mark", "never",
    "open", "output", "paste", "post", "print", "push", "rank", "reboot", "remove", "repeat",
    "reply", "report", "resolve", "respond", "restart", "return", "revert", "roll", "rollback",
    "run", "say", "scale", "send", "set", "skip", "stop", "submit", "tell", "treat", "type",
    "update", "upload", "use", "visit", "wipe", "write",
];
/// Words that a description of a cause does not need, and a request or its bait does.
const REQUESTS: &[&str] = &[
    "disregard",
    "execute",
    "http",
    "https",
    "ignore",
    "ignored",
    "ignoring",
    "immediately",
    "instruction",
    "instructions",
    "kubectl",
    "must",
    "override",
    "please",
    "prompt",
    "shall",
    "should",
    "sudo",
    "urgent",
    "urgently",
    "you",
    "your",
    "yourself",
    "curl",
    "wget",
    "www",
];

/// The quotations of a text, and the text without them.
pub fn quotations(text: &str) -> (Vec<String>, String) {
    let signs: Vec<char> = text.chars().collect();
    let mut quotes = Vec::new();
    let mut prose = String::new();
    let mut at = 0;
    while at < signs.len() {
        let before = at.checked_sub(1).map(|before| signs[before]);
        let end = close_of(signs[at], before).and_then(|close| {
            let rest = at + 1..signs.len();
            // An apostrophe inside of a word closes nothing.
            rest.clone()
                .find(|&index| {
                    let inside = signs
                        .get(index + 1)
                        .is_some_and(|next| next.is_alphanumeric());
                    close.contains(&signs[index])
                        && signs[index - 1] != '\\'
                        && !(inside && matches!(signs[index], '\'' | '’'))
                })
                // What is opened and never closed runs to the end, unless it is an apostrophe.
                .or_else(|| (!matches!(signs[at], '\'' | '’' | '‘')).then_some(signs.len()))
        });
        match end {
            Some(end) => {
                let quote: String = signs[at + 1..end].iter().collect();
                quotes.push(quote.replace("\\\"", "\"").replace("\\\\", "\\"));
                prose.push_str(" ; ");
                at = end + 1;
            }
            None => {
                prose.push(signs[at]);
                at += 1;
            }
        }
    }
    (quotes, prose)
}

fn close_of(open: char, before: Option<char>) -> Option<&'static [char]> {
    match open {
        '"' => Some(&['"']),
        '`' => Some(&['`']),
        '“' | '„' => Some(&['”', '“']),
        '«' => Some(&['»']),
        '‘' if before.is_none_or(|sign| !sign.is_alphanumeric()) => Some(&['’']),
        '\'' if before.is_none_or(|sign| !sign.is_alphanumeric()) => Some(&['\'']),
        _ => None,
    }
}

/// Words that look like a name of something: with a digit in them, with `_`, with a dot or an `@`
/// inside, or ending like one of the known names (`-service`).
pub fn identifiers(prose: &str, names: &BTreeSet<String>) -> Vec<String> {
    let endings: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| name.rsplit_once('-').map(|(_, ending)| ending))
        .filter(|ending| ending.chars().all(char::is_alphabetic))
        .collect();
    let edge = |sign: char| !sign.is_alphanumeric() && sign != '_';
    let parts = prose
        .split(|sign: char| sign.is_whitespace() || "()[]{}<>,;!?/=→–—".contains(sign))
        .map(|word| word.trim_matches(edge))
        .map(|word| {
            word.strip_suffix("'s")
                .or(word.strip_suffix("’s"))
                .unwrap_or(word)
        });
    let looks = |word: &&str| {
        let has_letter = word.chars().any(char::is_alphabetic);
        let has_digit = word.chars().any(|sign| sign.is_ascii_digit());
        let dotted = word.contains('.') && word.split('.').all(|part| part.chars().count() > 1);
        let known_ending = word
            .rsplit_once('-')
            .is_some_and(|(_, ending)| endings.contains(ending));
        let is_number = super::numbers::in_text(word).len() == 1
            || word
                .split('-')
                .all(|part| super::numbers::in_text(part).len() == 1);
        let is_clock = has_digit && !has_letter && !is_number;
        (has_letter && has_digit && !is_number)
            || is_clock
            || word.contains(['_', '@'])
            || (has_letter && dotted)
            || known_ending
    };
    let found: BTreeSet<String> = parts.filter(looks).map(str::to_owned).collect();
    found.into_iter().collect()
}

/// Whether `text` holds `name` and not only as a part of a longer word; what stands between
/// underscores in a metric's name counts as a word.
pub fn holds(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + name.len()..].chars().next();
        let part_of_word = |sign: char| sign.is_alphanumeric() || sign == '-';
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

/// Lower-case words and nothing else between them than one blank.
pub fn plain(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|sign: char| !sign.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The word that makes a text an instruction, a request or a bait.
pub fn instruction(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let word_of = |part: &str| {
        let edge = |sign: char| !sign.is_alphanumeric() && sign != '\'' && sign != '-';
        let first = part.split_whitespace().next().unwrap_or_default();
        first.trim_matches(edge).trim_matches('\'').to_owned()
    };
    let asked = lower
        .split(|sign: char| !sign.is_alphanumeric())
        .find(|word| REQUESTS.contains(word))
        .map(str::to_owned);
    let ordered = || {
        lower
            .split([
                '.', '!', '?', ';', ':', '"', '`', '“', '„', '«', '\n', '>', '|', '*', '(',
            ])
            .map(word_of)
            .find(|word| ORDERS.contains(&word.as_str()))
    };
    let shell = || {
        [
            "$(",
            "&&",
            "rm -",
            "<script",
            "javascript:",
            "](",
            "--force",
        ]
        .into_iter()
        .find(|sign| lower.contains(sign))
        .map(str::to_owned)
    };
    asked.or_else(ordered).or_else(shell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_are_told_from_apostrophes() {
        let (quotes, prose) = quotations("the callers' log says 'x' and \"a \\\"b\\\" c\" don't");
        assert_eq!(quotes[1], "a \"b\" c");
        assert!(prose.starts_with("the callers' log says") && prose.ends_with("don't"));
        assert_eq!(
            quotations("«x» “y” `z` 'pool isn't full'").0,
            ["x", "y", "z", "pool isn't full"]
        );
        assert_eq!(
            quotations("says \"open").0,
            ["open"],
            "what is never closed is quoted"
        );
    }

    #[test]
    fn descriptions_are_no_instructions() {
        for text in [
            "payment-service runs out of database connections and its callers wait.",
            "user-service fails since version 2 was rolled out; errors follow.",
            "The pool of payment-service is used up, which stops its callers.",
        ] {
            assert_eq!(instruction(text), None, "{text}");
        }
    }
}
