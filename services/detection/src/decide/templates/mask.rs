//! A log line without its variable parts.
//!
//! Masking happens before templates are compared, so that what is variable by
//! its shape costs no template: numbers `<num>`, times and dates `<time>`,
//! addresses (IPv4, IPv6, MAC) `<addr>`, hexadecimal ids `<hex>`, UUIDs
//! `<uuid>`, other ids of letters and digits `<id>`, mail addresses `<mail>`,
//! quoted strings `<str>`. Within a longer word only the variable part is
//! masked: `/orders/17/lines` is `/orders/<num>/lines`.
//!
//! One pass over at most [`LOOKED_AT`] bytes. Every look ahead is bounded by a
//! constant or happens once a token, so no line takes more than linear time.

use crate::decide::rules::{LOOKED_AT, head};

/// Tokens of a line that are compared. What a line is about stands in its
/// first words; more of them would make each template larger and a stack
/// trace's frames part of it.
pub const MAX_TOKENS: usize = 24;
/// Bytes of one token: its first 16 and its last 21 around `…`. A qualified
/// class name differs at its end, a path often at both.
pub const MAX_TOKEN_BYTES: usize = 40;
const KEPT_HEAD: usize = 16;
const KEPT_TAIL: usize = 21;
/// A quotation longer than this is none: a lone quote must not swallow a line.
const QUOTATION: usize = 200;
/// The longest written IPv6 address has 45 characters.
const ADDRESS: usize = 45;
/// What stands for a position where lines of one template differ.
pub const ANY: &str = "<*>";

/// The masked line: tokens, separated by single spaces. Never empty.
#[must_use]
pub fn mask(message: &str) -> String {
    let line = telling_line(head(message, LOOKED_AT));
    let mut masked = String::with_capacity(line.len().min(256));
    let mut reader = Reader {
        bytes: line.as_bytes(),
        line,
        at: 0,
        structured: line.trim_start().starts_with('{'),
    };
    let mut piece = String::with_capacity(64);
    let mut last = 0..0;
    let mut tokens = 0;
    while tokens < MAX_TOKENS && reader.next_token(&mut piece) {
        let token = finish(&mut piece);
        let repeated = token.contains('<') && masked[last.clone()] == *token;
        if token.is_empty() || repeated {
            continue;
        }
        if tokens > 0 {
            masked.push(' ');
        }
        let from = masked.len();
        masked.push_str(token);
        last = from..masked.len();
        tokens += 1;
    }
    if tokens == 0 {
        masked.push_str("<empty>");
    }
    masked
}

/// The line that says what happened: the first one, or the last of a Python
/// traceback, where the first only announces it.
fn telling_line(text: &str) -> &str {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    if first.trim_start().starts_with("Traceback (most recent") {
        return lines.next_back().unwrap_or(first);
    }
    first
}

/// Cuts a token to its size, and makes equal what differs only by its place
/// in a list or by the calendar.
fn finish(piece: &mut String) -> &str {
    const CALENDAR: &[&str] = &[
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Mon",
        "Tue", "Wed", "Thu", "Fri", "Sat", "Sun",
    ];
    if piece.len() > MAX_TOKEN_BYTES {
        let tail = piece.ceil_char_boundary(piece.len() - KEPT_TAIL);
        let tail = piece[tail..].to_owned();
        piece.truncate(piece.floor_char_boundary(KEPT_HEAD));
        piece.push('…');
        piece.push_str(&tail);
    }
    let token = piece.trim_end_matches([',', ';']);
    if CALENDAR.contains(&token) {
        return "<time>";
    }
    if token == ANY { "<str>" } else { token }
}

struct Reader<'a> {
    bytes: &'a [u8],
    line: &'a str,
    at: usize,
    /// A JSON object: its quoted sentences are what it says, not a parameter.
    structured: bool,
}

/// White space and control characters separate tokens.
fn separates(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

/// Letters of any script, and digits.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Reads a token into `piece`; false at the end of the line.
    fn next_token(&mut self, piece: &mut String) -> bool {
        piece.clear();
        while self.at < self.bytes.len() && separates(self.peek(0)) {
            self.at += 1;
        }
        if self.at == self.bytes.len() {
            return false;
        }
        let start = self.at;
        let length = self.bytes[start..]
            .iter()
            .position(|byte| separates(*byte))
            .unwrap_or(self.bytes.len() - start);
        let mail = self.mail(start, start + length);
        while self.at < self.bytes.len() && !separates(self.peek(0)) {
            let before = self.at.checked_sub(1).map_or(0, |last| self.bytes[last]);
            match self.peek(0) {
                _ if mail.as_ref().is_some_and(|mail| mail.start == self.at) => {
                    piece.push_str("<mail>");
                    self.at = mail.as_ref().map_or(self.at, |mail| mail.end);
                }
                quote @ (b'"' | b'\'' | b'`') if !is_word(before) => self.quoted(quote, piece),
                b'-' | b'+' if !is_word(before) && self.peek(1).is_ascii_digit() => self.at += 1,
                byte if is_word(byte) => self.word(piece),
                byte => {
                    piece.push(char::from(byte));
                    self.at += 1;
                }
            }
        }
        true
    }

    /// The mail address in a token, around its first `@`.
    fn mail(&self, start: usize, end: usize) -> Option<std::ops::Range<usize>> {
        let token = &self.bytes[start..end];
        let at = token.iter().position(|byte| *byte == b'@')?;
        let is_local = |byte: &u8| is_word(*byte) || b"._%+-".contains(byte);
        let is_domain = |byte: &u8| is_word(*byte) || b".-".contains(byte);
        let local = token[..at].iter().rev().take_while(|byte| is_local(byte));
        let local = local.count();
        let domain = token[at + 1..].iter().take_while(|byte| is_domain(byte));
        let mut domain = domain.count();
        // A full stop behind it ends the sentence, not the address.
        while domain > 0 && !is_word(token[at + domain]) {
            domain -= 1;
        }
        let dotted = token[at + 1..at + 1 + domain].contains(&b'.');
        (local > 0 && dotted).then(|| start + at - local..start + at + 1 + domain)
    }

    fn quoted(&mut self, quote: u8, piece: &mut String) {
        let rest = &self.bytes[self.at + 1..];
        let near = &rest[..rest.len().min(QUOTATION)];
        let length = near.iter().position(|byte| *byte == quote);
        let masked = length.is_some_and(|length| {
            let key = rest.get(length + 1) == Some(&b':');
            let sentence = near[..length].iter().any(|byte| separates(*byte));
            !(self.structured && (key || sentence))
        });
        match length {
            Some(length) if masked => {
                piece.push_str("<str>");
                self.at += length + 2;
            }
            _ => {
                piece.push(char::from(quote));
                self.at += 1;
            }
        }
    }

    /// A run of letters and digits, or something that begins like one.
    fn word(&mut self, piece: &mut String) {
        let before = self.at.checked_sub(1).map_or(0, |last| self.bytes[last]);
        if !is_word(before) && self.uuid() {
            piece.push_str("<uuid>");
            self.at += 36;
            return;
        }
        if let Some(length) = self.address() {
            piece.push_str("<addr>");
            self.at += length;
            return;
        }
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take_while(|byte| is_word(**byte)).count();
        let word = &rest[..length];
        let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            // Eight letters and more that happen to be hexadecimal are an id.
            let hex = length >= 8 && word.iter().all(u8::is_ascii_hexdigit);
            piece.push_str(if hex {
                "<hex>"
            } else {
                &self.line[self.at..self.at + length]
            });
            self.at += length;
        } else if let Some(mask) = id(word, digits) {
            piece.push_str(mask);
            self.at += length;
        } else {
            self.digits_in_word(length, piece);
        }
    }

    /// `v2`, `4000ms`, `17`: the digits are a number, the letters stay.
    fn digits_in_word(&mut self, length: usize, piece: &mut String) {
        let end = self.at + length;
        while self.at < end {
            let from = self.at;
            let letters = self.bytes[from..end]
                .iter()
                .take_while(|byte| !byte.is_ascii_digit())
                .count();
            piece.push_str(&self.line[from..from + letters]);
            self.at += letters;
            if self.at < end {
                piece.push_str(self.number());
            }
        }
    }

    /// Digits, and what joins digits: a decimal point, a date, a time of day,
    /// a network address, an exponent.
    fn number(&mut self) -> &'static str {
        let (mut dots, mut colons, mut dashes, mut time) = (0, 0, 0, false);
        loop {
            while self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
            let joined = match self.peek(0) {
                b'.' => &mut dots,
                b':' => &mut colons,
                b'-' | b'/' => &mut dashes,
                b',' | b'+' | b'e' | b'E' | b'T' => &mut 0,
                _ => break,
            };
            let exponent = matches!(self.peek(0), b'e' | b'E')
                && matches!(self.peek(1), b'+' | b'-')
                && self.peek(2).is_ascii_digit();
            if !exponent && !self.peek(1).is_ascii_digit() {
                break;
            }
            *joined += 1;
            time |= self.peek(0) == b'T';
            self.at += 1 + usize::from(exponent);
        }
        if self.peek(0) == b'Z' && !is_word(self.peek(1)) {
            self.at += 1;
            time = true;
        }
        if dots == 3 && dashes == 0 && colons <= 1 {
            "<addr>"
        } else if time || colons >= 2 || dashes >= 2 {
            "<time>"
        } else {
            "<num>"
        }
    }

    fn uuid(&self) -> bool {
        let Some(text) = self.bytes.get(self.at..self.at + 36) else {
            return false;
        };
        let fits = text.iter().enumerate().all(|(index, byte)| {
            if matches!(index, 8 | 13 | 18 | 23) {
                *byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        });
        fits && !is_word(self.peek(36))
    }

    /// The length of an IPv6 or hardware address that begins here.
    fn address(&self) -> Option<usize> {
        let rest = &self.bytes[self.at..];
        let run = &rest[..rest.len().min(ADDRESS)];
        let length = run
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit() || **byte == b':')
            .count();
        let run = &run[..length];
        let colons = run.iter().filter(|byte| **byte == b':').count();
        let double = run.windows(2).any(|pair| pair == b"::");
        let letters = run.iter().any(u8::is_ascii_alphabetic);
        let digits = run.iter().any(u8::is_ascii_digit);
        let short = run.split(|byte| *byte == b':').all(|part| part.len() <= 4);
        let bounded = !is_word(self.peek(length)) && !run.ends_with(b":");
        let shaped = colons == 5 || (digits && colons >= 2 && (letters || double));
        (shaped && short && bounded && (letters || double)).then_some(length)
    }
}

/// What a whole word with digits is, if it is an identifier.
fn id(word: &[u8], digits: usize) -> Option<&'static str> {
    let length = word.len();
    if word.starts_with(b"0x") && word[2..].iter().all(u8::is_ascii_hexdigit) {
        return Some("<hex>");
    }
    let leading = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // `3000d` is a number with its unit, and `17` no id.
    let with_unit = leading == digits && (leading == length || length < 6);
    if length >= 4 && !with_unit && word.iter().all(u8::is_ascii_hexdigit) {
        return Some("<hex>");
    }
    let with_unit = leading == digits && length - leading <= 8;
    (length >= 10 && digits >= 2 && !with_unit && word.is_ascii()).then_some("<id>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_parts_are_masked_by_their_shape() {
        for (line, masked) in [
            (
                "order 17 could not be priced",
                "order <num> could not be priced",
            ),
            (
                "took 12,345.6 ms, -3.5% of 4000ms at 1.5e-7",
                "took <num> ms <num>% of <num>ms at <num>",
            ),
            (
                "GET /orders/17/lines/3f2a9c failed",
                "GET /orders/<num>/lines/<hex> failed",
            ),
            (
                "request_id=req-0a1b2c3d request_id=req-feedbeef",
                "request_id=req-<hex>",
            ),
            (
                "user 3f2504e0-4f89-11d3-9a0c-abcdefabcdef unknown",
                "user <uuid> unknown",
            ),
            (
                "dial 10.0.0.3:5432 and [2001:db8::1]:80",
                "dial <addr> and [<addr>]:<num>",
            ),
            ("link 00:1b:44:11:3a:b7 down", "link <addr> down"),
            (
                "at 2026-11-22T07:01:42.123Z, 07:01:42 or 2026-11-22",
                "at <time> or <time>",
            ),
            (
                "Nov 22 07:01:42 kernel says",
                "<time> <num> <time> kernel says",
            ),
            ("bounced ann.b+c@mail.example.org.", "bounced <mail>."),
            (
                "no variant for \"order shipped\" in 'de'",
                "no variant for <str> in <str>",
            ),
            ("can't open, it's gone", "can't open it's gone"),
            (
                "OrderPricing.kt:142 at 0x7ffe12 v2.14.1",
                "OrderPricing.kt:<num> at <hex> v<num>",
            ),
            ("key 01ARZ3NDEKTSV4RRFFQ69G5FAV gone", "key <id> gone"),
            ("ids 1, 2, 3, 4 missing", "ids <num> missing"),
            (
                r#"{"level":"error","msg":"peer went away","n":3}"#,
                r#"{"level":<str>,"msg":"peer went away","n":<num>}"#,
            ),
            ("std::fs::read failed", "std::fs::read failed"),
            ("größer als 3 µs", "größer als <num> µs"),
            ("<*> <*>", "<str>"),
            ("", "<empty>"),
            ("\u{1}\u{2}\t", "<empty>"),
            ("Boom: x\n at a.b(C.java:1)\n at d", "Boom: x"),
            (
                "Traceback (most recent call last):\n  File \"x\", line 3\nKeyError: 'BACKORDER'\n",
                "KeyError: <str>",
            ),
        ] {
            assert_eq!(mask(line), masked, "{line}");
        }
    }

    #[test]
    fn tokens_are_bounded_in_number_and_size() {
        let name = format!("org.example.{}.LedgerException:", "deep.".repeat(20));
        let masked = mask(&format!("{name} {}", "word ".repeat(100)));
        assert!(masked.starts_with("org.example.deep…"), "{masked}");
        assert!(masked.contains("LedgerException:"), "{masked}");
        assert_eq!(masked.split(' ').count(), MAX_TOKENS);
        let wide = mask(&"ä€😀".repeat(5_000));
        assert!(wide.len() <= MAX_TOKEN_BYTES, "{wide}");
    }
}
