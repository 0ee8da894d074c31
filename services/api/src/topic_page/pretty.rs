//! Messages made readable without changing what they say.

use serde::de::IgnoredAny;

/// Characters of a preview.
const PREVIEW: usize = 180;

/// JSON with a line for each value; any other text as it is. Numbers, the order
/// of fields and doubled fields stay as they were sent, which is why this moves
/// white space only and reads no values.
#[must_use]
pub fn pretty(text: &str) -> String {
    let trimmed = text.trim();
    if !trimmed.starts_with(['{', '[']) || serde_json::from_str::<IgnoredAny>(trimmed).is_err() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(trimmed.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut letters = trimmed.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(letter) = letters.next() {
        if quoted {
            out.push(letter);
            quoted = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            continue;
        }
        match letter {
            ' ' | '\t' | '\r' | '\n' => {}
            '"' => {
                quoted = true;
                out.push(letter);
            }
            '{' | '[' => {
                out.push(letter);
                while letters.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(close) = letters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push(letter),
        }
    }
    out
}

/// The beginning of a text on one line.
#[must_use]
pub fn preview(text: &str) -> String {
    let mut line = String::new();
    let mut count = 0;
    for word in text.split(|letter: char| letter.is_whitespace() || letter.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for letter in word.chars() {
            count += 1;
            if count > PREVIEW {
                line.push('…');
                return line;
            }
            line.push(letter);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_moves() {
        let sent = r#"{"b":1.10,"a":[1e400, {}],"a":"x\": {y},","n":12345678901234567890123}"#;
        let expected = r#"{
  "b": 1.10,
  "a": [
    1e400,
    {}
  ],
  "a": "x\": {y},",
  "n": 12345678901234567890123
}"#;
        assert_eq!(pretty(sent), expected);
        assert_eq!(pretty(r#"["a\\",[ ]]"#), "[\n  \"a\\\\\",\n  []\n]");
        for other in ["{broken", "plain text", "", "  3"] {
            assert_eq!(pretty(other), other);
        }
    }

    #[test]
    fn a_preview_is_one_short_line() {
        assert_eq!(preview(" a\n\t b\u{7}c "), "a b c");
        let long = preview(&"ž".repeat(PREVIEW + 1));
        assert_eq!(long.chars().count(), PREVIEW + 1);
        assert!(long.ends_with('…'));
    }
}
