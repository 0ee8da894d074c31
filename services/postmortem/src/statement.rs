//! A sentence as data: our own words, the facts between them, and the records
//! that each fact stands in. Every form of the postmortem is made from these.

use crate::text::{code, escape, escape_long};
use serde::{Deserialize, Serialize};

/// A value inside a record, by the record's id and a JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub record: String,
    pub path: String,
}

/// How a fact's text follows from the values at its places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The text itself, on one line and cut to a readable length.
    Text,
    /// Words that stand in the text.
    Excerpt,
    /// A wire name with blanks: `not improved`.
    Spoken,
    /// The title of a kind of anomaly.
    Title,
    /// Names, joined; the first twelve.
    List,
    /// A number with two decimals at most.
    Number,
    /// A rate: whole from ten on.
    About,
    /// A share of one, in percent.
    Percent,
    /// Their sum.
    Sum,
    /// The sum of US dollars, four decimals.
    Money,
    /// A sum of milliseconds as seconds.
    Seconds,
    /// A sum of bytes: `12.3 kB`.
    Bytes,
    /// How many places there are.
    Count,
    /// The length of an array.
    Length,
    /// The hour, minute and second of a moment.
    TimeOfDay,
    /// Day and time of a moment.
    Moment,
    /// The day that lies so many days (second place) after a moment (first).
    DayAfter,
    /// A span of milliseconds.
    Duration,
    /// From the first moment to the second.
    Between,
    /// Requests that failed: rate times share times the time to the next
    /// reading, over pairs of readings (rate, share in percent).
    FailedRequests,
    /// Minutes of a complete outage that would have failed as large a share,
    /// over readings of the share in percent.
    BurntMinutes,
    /// Minutes in which at least half of the requests failed, over the same.
    DownMinutes,
}

/// How a fact is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    #[default]
    Plain,
    Code,
    Quoted,
}

/// A number, a name, a time or a quotation, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub text: String,
    pub rule: Rule,
    pub places: Vec<Place>,
    #[serde(default)]
    pub style: Style,
}

/// A piece of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Our own words: they name no number, time or thing.
    Words(String),
    Fact(Fact),
    /// The end of a table's cell.
    Cell,
}

/// A sentence, or a row of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// `S1`, `S2`, … in the order of the document.
    pub id: String,
    pub parts: Vec<Part>,
    /// Everything that it rests on; the records of its facts are among them.
    pub records: Vec<String>,
}

impl Statement {
    /// As plain text.
    #[must_use]
    pub fn text(&self) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Words(words) => words.clone(),
            Part::Fact(fact) if fact.style == Style::Quoted => format!("“{}”", fact.text),
            Part::Fact(fact) => fact.text.clone(),
            Part::Cell => " | ".to_owned(),
        });
        parts.collect()
    }

    /// As Markdown, in which no fact begins any markup.
    #[must_use]
    pub fn markdown(&self) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Words(words) => escape_long(words),
            Part::Fact(fact) => match fact.style {
                Style::Plain => escape_long(&fact.text),
                Style::Code => code(&fact.text),
                Style::Quoted => format!("“{}”", escape(&fact.text)),
            },
            Part::Cell => " | ".to_owned(),
        });
        parts.collect()
    }

    /// The facts in it.
    pub fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.parts.iter().filter_map(|part| match part {
            Part::Fact(fact) => Some(fact),
            Part::Words(_) | Part::Cell => None,
        })
    }
}
