//! A text in other notations, with the way back to the text as it stands.

use std::ops::Range;

use regex::Regex;

/// Stands for a placeholder; a private-use character that no view takes over from a text.
const MASK: char = '\u{e000}';
/// Before a line break that cuts a value in two stands at least so much of the line: logs and
/// terminals wrap at 40 columns and more.
const SHORTEST_WRAPPED_LINE: usize = 38;
/// Characters of a value on either side of the break, at least.
const SHORTEST_PIECE: usize = 4;

/// A text, and for each of its bytes where it comes from.
pub struct View {
    text: String,
    /// Per byte: begin and end in the original of the notation that the byte is a part of.
    origins: Vec<(usize, usize)>,
}

impl View {
    /// The text itself, its placeholders masked.
    pub fn of(text: &str, placeholder: &Regex) -> View {
        let mut view = View::empty(text.len());
        let mut end = 0;
        for found in placeholder.find_iter(text) {
            view.take_plain(text, end..found.start());
            view.push(MASK, (found.start(), found.end()));
            end = found.end();
        }
        view.take_plain(text, end..text.len());
        view
    }

    fn empty(capacity: usize) -> View {
        View {
            text: String::with_capacity(capacity),
            origins: Vec::with_capacity(capacity),
        }
    }

    fn take_plain(&mut self, text: &str, range: Range<usize>) {
        for (at, sign) in text[range.clone()].char_indices() {
            let start = range.start + at;
            if sign != MASK {
                self.push(sign, (start, start + sign.len_utf8()));
            }
        }
    }

    fn push(&mut self, sign: char, origin: (usize, usize)) {
        self.text.push(sign);
        self.origins
            .extend(std::iter::repeat_n(origin, sign.len_utf8()));
    }

    /// The text in this notation.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where a range of this notation stands in the original.
    pub fn origin(&self, range: &Range<usize>) -> Range<usize> {
        match (self.origins.get(range.start), range.end.checked_sub(1)) {
            (Some((start, _)), Some(last)) if last >= range.start => *start..self.origins[last].1,
            _ => 0..0,
        }
    }

    /// What a range of the original says in this notation.
    pub fn plain(&self, range: &Range<usize>) -> String {
        let from = self
            .origins
            .partition_point(|(start, _)| *start < range.start);
        let to = self
            .origins
            .partition_point(|(start, _)| *start < range.end);
        self.text[from..to].replace(MASK, "")
    }

    /// Escapes and entities as what they stand for, look-alike characters as the ASCII character
    /// that they imitate, and nothing that is invisible. Once more for what is escaped twice.
    pub fn flattened(&self) -> View {
        let mut flat = View::empty(self.text.len());
        let mut at = 0;
        while at < self.text.len() {
            let rest = &self.text[at..];
            let (sign, length) = decoded(rest).unwrap_or_else(|| {
                let sign = rest.chars().next().expect("the rest is not empty");
                (plain_sign(sign), sign.len_utf8())
            });
            if let Some(sign) = sign {
                let origin = (self.origins[at].0, self.origins[at + length - 1].1);
                flat.push(sign, origin);
            }
            at += length;
        }
        flat
    }

    /// Without the line breaks that cut a value in two: after a backslash, between the parts of a
    /// line that a container runtime split, and where a long line ends and the next begins in the
    /// middle of what could be a key.
    pub fn joined(&self) -> View {
        let mut joined = View::empty(self.text.len());
        let mut at = 0;
        while let Some(length) = self.text[at..].find('\n') {
            let end = at + length;
            let keep = self.kept_before(end);
            let after = self.continuation(end);
            self.copy(at..after.map_or(end + 1, |_| keep.max(at)), &mut joined);
            at = after.unwrap_or(end + 1);
        }
        self.copy(at..self.text.len(), &mut joined);
        joined
    }

    fn copy(&self, range: Range<usize>, into: &mut View) {
        into.text.push_str(&self.text[range.clone()]);
        into.origins.extend_from_slice(&self.origins[range]);
    }

    /// The end of the line without a continuation mark.
    fn kept_before(&self, end: usize) -> usize {
        let line = self.text[..end].trim_end_matches('\r');
        line.trim_end_matches('\\').len()
    }

    /// Where the line goes on after the break at `end`, if it was one line.
    fn continuation(&self, end: usize) -> Option<usize> {
        let before = self.text[..end].trim_end_matches('\r');
        let after = &self.text[end + 1..];
        let start = before.rfind('\n').map_or(0, |place| place + 1);
        let line = &before[start..];
        // `2026-11-02T12:00:00Z stdout P text`: P marks a line that goes on, behind the same head.
        // It need not begin at the margin: the line may be a field of a document.
        if line.contains(" stdout P ") || line.contains(" stderr P ") {
            let next = after.lines().next().unwrap_or_default();
            let head: Vec<&str> = unquoted(next).splitn(4, ' ').collect();
            if let [_, "stdout" | "stderr", "P" | "F", text] = head[..] {
                return Some(end + 1 + (next.len() - text.len()));
            }
        }
        let indent = after.len() - after.trim_start_matches([' ', '\t', '|']).len();
        let piece = |sign: &char| sign.is_ascii_alphanumeric() || "+/_=-.~".contains(*sign);
        let next: String = after[indent..].chars().take_while(piece).collect();
        if line.ends_with('\\') {
            return (!next.is_empty()).then_some(end + 1 + indent);
        }
        let last = line.chars().rev().take_while(piece).count();
        let is_wrapped = line.chars().count() >= SHORTEST_WRAPPED_LINE
            && last >= SHORTEST_PIECE
            && next.len() >= SHORTEST_PIECE
            && looks_random(&next);
        is_wrapped.then_some(end + 1 + indent)
    }
}

/// Without the margin that a block of foreign text has ([`super::super::fence::block`]).
fn unquoted(line: &str) -> &str {
    line.strip_prefix("| ").unwrap_or(line)
}

/// Digits and letters, or capitals within small letters, but no time, no id and no field of its
/// own: what a line may well begin with.
fn looks_random(piece: &str) -> bool {
    let has = |test: fn(&char) -> bool| piece.chars().any(|sign| test(&sign));
    let digits = has(char::is_ascii_digit);
    let (small, large) = (has(char::is_ascii_lowercase), has(char::is_ascii_uppercase));
    let inner_large = piece.chars().skip(1).any(|sign| sign.is_ascii_uppercase());
    let is_time = piece.len() >= 8
        && piece.bytes().take(4).all(|byte| byte.is_ascii_digit())
        && piece.as_bytes()[4] == b'-';
    let is_field = piece
        .find('=')
        .is_some_and(|place| place > 0 && !piece[place..].bytes().all(|byte| byte == b'='));
    let is_mixed = (digits && (small || large)) || (small && inner_large);
    is_mixed && !is_time && !is_field
}

/// The character that an escape or an entity at the start of `rest` stands for (none for one that
/// stands for nothing visible), and the length of the notation.
fn decoded(rest: &str) -> Option<(Option<char>, usize)> {
    match rest.as_bytes()[0] {
        b'\\' => escape(rest),
        b'%' => {
            let byte = u8::from_str_radix(rest.get(1..3)?, 16).ok()?;
            (byte.is_ascii_graphic() || byte == b' ').then_some((Some(char::from(byte)), 3))
        }
        b'&' => entity(rest),
        0x1b => Some((None, terminal_sequence(rest))),
        _ => None,
    }
}

fn escape(rest: &str) -> Option<(Option<char>, usize)> {
    let slashes = rest.len() - rest.trim_start_matches('\\').len();
    let next = rest[slashes..].chars().next()?;
    match next {
        '"' | '\'' | '/' => Some((Some(next), slashes + 1)),
        'n' | 'r' => Some((Some('\n'), slashes + 1)),
        't' => Some((Some('\t'), slashes + 1)),
        'u' | 'x' => {
            let digits = if next == 'u' { 4 } else { 2 };
            let code = rest.get(slashes + 1..slashes + 1 + digits)?;
            let sign = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
            Some((plain_sign(sign), slashes + 1 + digits))
        }
        _ => None,
    }
}

fn entity(rest: &str) -> Option<(Option<char>, usize)> {
    let end = rest.bytes().take(10).position(|byte| byte == b';')?;
    let sign = match &rest[1..end] {
        "quot" => '"',
        "apos" => '\'',
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "equals" => '=',
        "colon" => ':',
        "commat" => '@',
        name => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => digits.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((plain_sign(sign), end + 1))
}

/// The length of a colour or cursor sequence; of the escape character alone for anything else.
fn terminal_sequence(rest: &str) -> usize {
    let Some(body) = rest.strip_prefix("\u{1b}[") else {
        return 1;
    };
    let parameters = body.bytes().take_while(|byte| (0x20..0x40).contains(byte));
    let end = 2 + parameters.count();
    let is_ended = rest
        .as_bytes()
        .get(end)
        .is_some_and(|byte| (0x40..0x7f).contains(byte));
    end + usize::from(is_ended)
}

/// The ASCII character that a sign imitates, itself, or none where nobody sees it.
fn plain_sign(sign: char) -> Option<char> {
    if sign.is_ascii() {
        let is_shown = !sign.is_ascii_control() || matches!(sign, '\n' | '\r' | '\t');
        return is_shown.then_some(sign);
    }
    if sign == MASK {
        return Some(sign);
    }
    if is_invisible(sign) || sign.is_control() {
        return None;
    }
    let code = u32::from(sign);
    let imitated = match sign {
        // Full-width forms repeat ASCII in order.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(code - 0xfee0),
        // Mathematical letters: alphabets of 52, one after the other; then digits.
        '\u{1d400}'..='\u{1d6a3}' => letter((code - 0x1d400) % 52),
        '\u{1d7ce}'..='\u{1d7ff}' => char::from_digit((code - 0x1d7ce) % 10, 10),
        '\u{2236}' | '\u{a789}' | '\u{fe55}' | '\u{fe13}' | '\u{2d0}' | '\u{5c3}' | '\u{1365}' => {
            Some(':')
        }
        '\u{fe66}' | '\u{2e40}' | '\u{a78a}' | '\u{30a0}' | '\u{2550}' => Some('='),
        '\u{fe6b}' => Some('@'),
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{2033}' => Some('"'),
        '\u{2018}' | '\u{2019}' | '\u{2032}' => Some('\''),
        '\u{2010}'..='\u{2015}' | '\u{2212}' => Some('-'),
        '\u{2044}' | '\u{2215}' => Some('/'),
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Some(' '),
        _ => homoglyph(sign),
    };
    Some(imitated.unwrap_or(sign))
}

fn letter(index: u32) -> Option<char> {
    let base = if index < 26 { 'A' } else { 'a' };
    char::from_u32(u32::from(base) + index % 26)
}

/// Cyrillic and Greek letters that look like Latin ones, as far as key names are made of them.
fn homoglyph(sign: char) -> Option<char> {
    const CYRILLIC_AND_GREEK: &str = "аaеeоoрpсcхxуyіiѕsкkԁdһhјjԝwтtмmвbнhАAЕEОOРPСCХXУYІIЅSКKТTМMВBНHοoαaρpιiκkΑAΕEΟOΡPΙIΚKΤTΝNΜMΒBΗHΖZΥY";
    let mut pairs = CYRILLIC_AND_GREEK.chars();
    while let (Some(one), Some(imitated)) = (pairs.next(), pairs.next()) {
        if one == sign {
            return Some(imitated);
        }
    }
    None
}

/// Characters that take no room or change the direction: what hides text from people.
pub fn is_invisible(sign: char) -> bool {
    matches!(sign,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}
