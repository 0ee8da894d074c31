//! Sentences bound to the records that they rest on, and the list of those
//! records at the end.

use crate::text::{code, escape};

/// A sentence of our own words with foreign parts already escaped, and the
/// records behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    pub markdown: String,
    pub records: Vec<String>,
}

/// A sentence that rests on these records.
#[must_use]
pub fn sentence(markdown: impl Into<String>, records: &[&str]) -> Sentence {
    Sentence {
        markdown: markdown.into(),
        records: records.iter().map(|id| (*id).to_owned()).collect(),
    }
}

/// Numbers records in the order in which they are cited.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    cited: Vec<String>,
}

impl Notes {
    /// The marks of these records: `[^1] [^4]`.
    pub fn cite<S: AsRef<str>>(&mut self, records: &[S]) -> String {
        let mut marks = String::new();
        let mut marked: Vec<usize> = Vec::new();
        for record in records
            .iter()
            .map(AsRef::as_ref)
            .filter(|id| !id.is_empty())
        {
            let place = self.cited.iter().position(|known| known == record);
            let place = place.unwrap_or_else(|| {
                self.cited.push(record.to_owned());
                self.cited.len() - 1
            });
            if !marked.contains(&place) {
                // Without the space, 5 and 1 would read as 51.
                if !marked.is_empty() {
                    marks.push(' ');
                }
                marked.push(place);
                marks.push_str(&format!("[^{}]", place + 1));
            }
        }
        marks
    }

    /// The sentence with its marks.
    pub fn bound(&mut self, sentence: &Sentence) -> String {
        format!("{}{}", sentence.markdown, self.cite(&sentence.records))
    }

    /// The footnotes.
    #[must_use]
    pub fn list(&self) -> String {
        self.cited
            .iter()
            .enumerate()
            .map(|(index, record)| format!("[^{}]: {}\n", index + 1, code(record)))
            .collect()
    }
}

/// Markdown of our own sentences as plain text: the opposite of [`escape`],
/// without code marks.
#[must_use]
pub fn plain(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    let mut characters = markdown.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(
                characters
                    .next_if(char::is_ascii_punctuation)
                    .or(Some('\\')),
            ),
            '`' => {}
            other => text.push(other),
        }
    }
    text
}

/// A quoted foreign text.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("“{}”", escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_one_number_wherever_it_is_cited() {
        let mut notes = Notes::default();
        assert_eq!(
            notes.bound(&sentence("A.", &["x", "y", "x"])),
            "A.[^1] [^2]"
        );
        assert_eq!(notes.cite(&["y"]), "[^2]");
        assert_eq!(notes.list(), "[^1]: `x`\n[^2]: `y`\n");
    }

    #[test]
    fn plain_text_is_what_was_escaped() {
        let foreign = "a | <b> [c] \\ _d_ e_f";
        assert_eq!(plain(&escape(foreign)), foreign);
        assert_eq!(plain("`metric` of x"), "metric of x");
    }
}
