//! Makes statements: a sentence with gaps, and what fills each gap.

use crate::records::Records;
use crate::rules;
use crate::statement::{Fact, Part, Place, Rule, Statement, Style};

/// What fills a gap.
#[derive(Clone, Debug)]
pub struct Want {
    rule: Rule,
    style: Style,
    places: Vec<Place>,
}

/// The value at one place, by a rule.
#[must_use]
pub fn at(rule: Rule, record: &str, path: &str) -> Want {
    over(rule, [(record, path)])
}

/// What a rule makes of several values.
pub fn over<R: Into<String>, P: Into<String>>(
    rule: Rule,
    places: impl IntoIterator<Item = (R, P)>,
) -> Want {
    let place = |(record, path): (R, P)| Place {
        record: record.into(),
        path: path.into(),
    };
    Want {
        rule,
        style: Style::Plain,
        places: places.into_iter().map(place).collect(),
    }
}

/// A text.
#[must_use]
pub fn text(record: &str, path: &str) -> Want {
    at(Rule::Text, record, path)
}

/// A text as code: metrics, versions, commands, log lines.
#[must_use]
pub fn code(record: &str, path: &str) -> Want {
    Want {
        style: Style::Code,
        ..text(record, path)
    }
}

/// A text in quotation marks: what others wrote.
#[must_use]
pub fn quoted(record: &str, path: &str) -> Want {
    Want {
        style: Style::Quoted,
        ..text(record, path)
    }
}

/// A number.
#[must_use]
pub fn number(record: &str, path: &str) -> Want {
    at(Rule::Number, record, path)
}

/// The time of day of a moment.
#[must_use]
pub fn time(record: &str, path: &str) -> Want {
    at(Rule::TimeOfDay, record, path)
}

/// From one moment to another.
#[must_use]
pub fn between(from: (&str, &str), to: (&str, &str)) -> Want {
    over(Rule::Between, [from, to])
}

/// A sentence with a gap `{}` for each want; ` | ` ends a table's cell. `also`
/// names records that it rests on beside those of its facts; those that are
/// unknown are left out. None where a value is not recorded.
#[must_use]
pub fn say(records: &Records, sentence: &str, wants: &[Want], also: &[&str]) -> Option<Statement> {
    let mut statement = Statement::default();
    let mut pieces = sentence.split("{}");
    words(&mut statement, pieces.next().unwrap_or_default());
    for (want, piece) in wants.iter().zip(pieces) {
        let fact = fill(records, want)?;
        for place in &fact.places {
            cite(&mut statement, &place.record);
        }
        statement.parts.push(Part::Fact(fact));
        words(&mut statement, piece);
    }
    for id in also.iter().filter(|id| records.has(id)) {
        cite(&mut statement, id);
    }
    Some(statement)
}

/// Joins statements into one, for a sentence that is made of clauses.
#[must_use]
pub fn joined(parts: impl IntoIterator<Item = Statement>) -> Statement {
    let mut whole = Statement::default();
    for part in parts {
        whole.parts.extend(part.parts);
        for id in &part.records {
            cite(&mut whole, id);
        }
    }
    whole
}

/// Puts statements side by side as the cells of a row.
#[must_use]
pub fn row(cells: impl IntoIterator<Item = Statement>) -> Statement {
    let mut whole = Statement::default();
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            whole.parts.push(Part::Cell);
        }
        whole.parts.extend(cell.parts);
        for id in &cell.records {
            cite(&mut whole, id);
        }
    }
    whole
}

fn fill(records: &Records, want: &Want) -> Option<Fact> {
    let values: Option<Vec<_>> = want
        .places
        .iter()
        .map(|place| records.value(&place.record, &place.path))
        .collect();
    let text = rules::say(want.rule, &values?)?;
    (!text.is_empty()).then(|| Fact {
        text,
        rule: want.rule,
        places: want.places.clone(),
        style: want.style,
    })
}

fn words(statement: &mut Statement, piece: &str) {
    for (index, cell) in piece.split(" | ").enumerate() {
        if index > 0 {
            statement.parts.push(Part::Cell);
        }
        if !cell.is_empty() {
            statement.parts.push(Part::Words(cell.to_owned()));
        }
    }
}

fn cite(statement: &mut Statement, id: &str) {
    if !id.is_empty() && !statement.records.iter().any(|known| known == id) {
        statement.records.push(id.to_owned());
    }
}
