//! Reads JSON that is almost right: what models write when nothing enforces its syntax.
//!
//! Mended: Markdown fences and prose around the object, comments, trailing and missing commas,
//! single and typographic quotes, names without quotes, Python's `True`, `False` and `None`, raw
//! line breaks inside of strings, brackets that are missing at the end. What was cut in the middle
//! is dropped and never guessed: half a word could be another word. Whether the result makes sense
//! is for the schema to say.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Brackets within brackets; a reply that goes deeper is nonsense and would exhaust the stack.
const DEEPEST: usize = 32;

/// The first object in the text, and what was mended, in words.
///
/// # Errors
/// There is no object, or it is broken in a way that leaves open what was meant.
pub fn object(text: &str) -> Result<(Value, String), String> {
    let start = text.find('{').ok_or("there is no object")?;
    let mut reader = Reader {
        signs: text[start..].chars().collect(),
        at: 0,
        mended: BTreeSet::new(),
        is_cut: false,
    };
    match reader.value(0)? {
        Some(value) => {
            if reader.is_cut {
                reader.mended.insert("its end was missing");
            }
            let mended: Vec<&str> = reader.mended.into_iter().collect();
            Ok((value, mended.join(", ")))
        }
        None => Err("the object has no content".to_owned()),
    }
}

struct Reader {
    signs: Vec<char>,
    at: usize,
    mended: BTreeSet<&'static str>,
    /// The text ended before the object did.
    is_cut: bool,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.signs.get(self.at).copied()
    }

    fn follows(&self, text: &str) -> bool {
        let mut signs = self.signs[self.at.min(self.signs.len())..].iter();
        text.chars().all(|sign| signs.next() == Some(&sign))
    }

    /// Over blanks and comments.
    fn skip(&mut self) {
        loop {
            while self.peek().is_some_and(char::is_whitespace) {
                self.at += 1;
            }
            let end = match () {
                () if self.follows("//") => "\n",
                () if self.follows("/*") => "*/",
                () => return,
            };
            self.mended.insert("comments");
            while self.peek().is_some() && !self.follows(end) {
                self.at += 1;
            }
            self.at = (self.at + end.len()).min(self.signs.len());
        }
    }

    /// A value; none where the text ended within it.
    fn value(&mut self, depth: usize) -> Result<Option<Value>, String> {
        if depth > DEEPEST {
            return Err("it is nested too deeply".to_owned());
        }
        self.skip();
        match self.peek() {
            None => {
                self.is_cut = true;
                Ok(None)
            }
            Some('{') => self.fields(depth).map(Some),
            Some('[') => self.items(depth).map(Some),
            Some(sign) if closing(sign).is_some() => Ok(self.string().map(Value::String)),
            Some(_) => self.word(),
        }
    }

    fn fields(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut fields = Map::new();
        while self.go_on('}')? {
            let quoted = self.peek().and_then(closing).is_some();
            let name = if quoted {
                self.string()
            } else {
                self.mended.insert("names without quotes");
                Some(self.bare(|sign| sign.is_alphanumeric() || matches!(sign, '_' | '-' | '$')))
            };
            self.skip();
            let Some(name) = name.filter(|_| self.peek().is_some()) else {
                self.is_cut = true;
                break;
            };
            if name.is_empty() || self.peek() != Some(':') {
                return Err(format!("a field has no name or no value at {}", self.at));
            }
            self.at += 1;
            match self.value(depth + 1)? {
                Some(value) => fields.insert(name, value),
                None => break,
            };
        }
        Ok(Value::Object(fields))
    }

    fn items(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut items = Vec::new();
        while self.go_on(']')? {
            match self.value(depth + 1)? {
                Some(value) => items.push(value),
                None => break,
            }
        }
        Ok(Value::Array(items))
    }

    /// Whether another member follows; otherwise past the closing bracket.
    fn go_on(&mut self, close: char) -> Result<bool, String> {
        self.skip();
        let after_member = !self.signs[..self.at]
            .iter()
            .rev()
            .find(|sign| !sign.is_whitespace())
            .is_some_and(|sign| matches!(sign, '{' | '['));
        let mut has_comma = false;
        while self.peek() == Some(',') {
            if has_comma || !after_member {
                return Err(format!("a member is missing at {}", self.at));
            }
            has_comma = true;
            self.at += 1;
            self.skip();
        }
        match self.peek() {
            None => {
                self.is_cut = true;
                Ok(false)
            }
            Some(sign) if sign == close => {
                if has_comma {
                    self.mended.insert("a trailing comma");
                }
                self.at += 1;
                Ok(false)
            }
            Some(_) => {
                if after_member && !has_comma {
                    self.mended.insert("a missing comma");
                }
                Ok(true)
            }
        }
    }

    /// A string; none where the text ended within it.
    fn string(&mut self) -> Option<String> {
        let open = self.peek()?;
        let close = closing(open)?;
        if open != '"' {
            self.mended.insert("other quotes");
        }
        self.at += 1;
        let mut text = String::new();
        while let Some(sign) = self.peek() {
            self.at += 1;
            match sign {
                '\\' => text.push(self.escaped()?),
                _ if close.contains(&sign) => return Some(text),
                '\n' | '\r' | '\t' => {
                    self.mended.insert("raw line breaks in a string");
                    text.push(sign);
                }
                _ => text.push(sign),
            }
        }
        self.is_cut = true;
        None
    }

    fn escaped(&mut self) -> Option<char> {
        let sign = self.peek()?;
        self.at += 1;
        Some(match sign {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let high = self.hex()?;
                let is_pair = (0xD800..0xDC00).contains(&high) && self.follows("\\u");
                let code = if is_pair {
                    self.at += 2;
                    let low = self.hex()?;
                    0x10000 + ((high - 0xD800) << 10) + (low.checked_sub(0xDC00)? & 0x3FF)
                } else {
                    high
                };
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            other => other,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits: String = self.signs.get(self.at..self.at + 4)?.iter().collect();
        self.at += 4;
        u32::from_str_radix(&digits, 16).ok()
    }

    fn bare(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let from = self.at;
        while self.peek().is_some_and(&belongs) {
            self.at += 1;
        }
        self.signs[from..self.at].iter().collect()
    }

    /// A number or one of the words that stand for themselves.
    fn word(&mut self) -> Result<Option<Value>, String> {
        let word =
            self.bare(|sign| sign.is_alphanumeric() || matches!(sign, '+' | '-' | '.' | '_'));
        if self.peek().is_none() {
            // 38 may be the beginning of 380.
            self.is_cut = true;
            return Ok(None);
        }
        let known = match word.as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            "True" | "TRUE" => self.python(Value::Bool(true)),
            "False" | "FALSE" => self.python(Value::Bool(false)),
            "None" | "undefined" | "NaN" => self.python(Value::Null),
            _ => None,
        };
        if known.is_some() {
            return Ok(known);
        }
        let plain = word.trim_start_matches('+');
        match serde_json::from_str::<Value>(plain) {
            Ok(number @ Value::Number(_)) => Ok(Some(number)),
            _ => Err(format!("{word:?} is no value")),
        }
    }

    fn python(&mut self, value: Value) -> Option<Value> {
        self.mended.insert("words of another language");
        Some(value)
    }
}

/// What ends a string that this sign begins.
fn closing(open: char) -> Option<&'static [char]> {
    match open {
        '"' => Some(&['"']),
        '\'' => Some(&['\'']),
        '`' => Some(&['`']),
        '“' | '„' | '”' => Some(&['”', '“']),
        '‘' | '’' => Some(&['’']),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn near_json_is_read_as_it_was_meant() {
        let cases = [
            (
                "{\"a\": [1, 2,], }",
                json!({"a": [1, 2]}),
                "a trailing comma",
            ),
            (
                "{'a': 'it\\'s', b: `x`}",
                json!({"a": "it's", "b": "x"}),
                "names without quotes, other quotes",
            ),
            (
                "```json\n{\"a\": True /* yes */, \"b\": None}\n```",
                json!({"a": true, "b": null}),
                "comments, words of another language",
            ),
            (
                "{\"a\": \"one\ntwo\" \"b\": -1.5e3}",
                json!({"a": "one\ntwo", "b": -1500.0}),
                "a missing comma, raw line breaks in a string",
            ),
            (
                "{“a”: “\\u00e9\\ud83d\\ude00”}",
                json!({"a": "é😀"}),
                "other quotes",
            ),
            (
                "{\"a\": [{\"id\": \"e1\"}, {\"id\": \"e",
                json!({"a": [{"id": "e1"}, {}]}),
                "its end was missing",
            ),
            (
                "{\"a\": 1, \"count\": 38",
                json!({"a": 1}),
                "its end was missing",
            ),
            ("{\"a\": 1, \"b", json!({"a": 1}), "its end was missing"),
            ("{\"a\": {}} and {\"b\": 2}", json!({"a": {}}), ""),
        ];
        for (text, expected, mended) in cases {
            assert_eq!(object(text), Ok((expected, mended.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_leaves_open_what_was_meant_is_refused() {
        for text in [
            "no object",
            "{\"a\": }",
            "{: 1}",
            "{\"a\": high}",
            "{\"a\": [1,,2]}",
            "{\"a\" 1}",
        ] {
            assert!(object(text).is_err(), "{text} gave {:?}", object(text));
        }
        assert!(object(&"{\"a\":".repeat(100_000)).is_err());
    }

    #[test]
    fn any_text_ends() {
        let signs: Vec<char> = "{}[]:,'\"`“”\\ua1.-/* \nTrue".chars().collect();
        let mut state = 7_u64;
        for round in 0..2_000 {
            let mut text = String::from("{");
            for _ in 0..round % 40 {
                // Knuth's MMIX generator: any spread of signs will do.
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let index = usize::try_from(state >> 33).unwrap() % signs.len();
                text.push(signs[index]);
            }
            if let Ok((value, _)) = object(&text) {
                assert!(value.is_object(), "{text}");
            }
        }
    }
}
