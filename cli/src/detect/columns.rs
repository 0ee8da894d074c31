//! One sample from one line of CSV.
//!
//! A field may be quoted, with doubled quotes inside; it ends with its line,
//! so that one stray quote never swallows the lines that follow. Comma,
//! semicolon or tab part the fields, whichever the first line has.

use super::Sample;
use super::calendar::{self, Unit};
use midwatch_events::decode::NAME_MAX_BYTES;
use midwatch_events::raw::Labels;
use std::borrow::Cow;

/// More columns than this are no header of ours.
const COLUMNS_MAX: usize = 1000;
/// The service of a series whose file names none.
const SERVICE: &str = "csv";
/// Names of columns, the most telling first.
const TIMES: [&str; 9] = [
    "timestamp",
    "time",
    "ts",
    "datetime",
    "date_time",
    "date",
    "event_time",
    "epoch",
    "unix",
];
const VALUES: [&str; 4] = ["metric_value", "value", "val", "y"];
const SERVICES: [&str; 2] = ["service", "service_name"];
const METRICS: [&str; 5] = ["metric_name", "metric", "series", "series_name", "name"];
const ENVIRONMENTS: [&str; 2] = ["environment", "env"];

/// Which column holds what.
#[derive(Debug, PartialEq)]
pub struct Columns {
    delimiter: u8,
    count: usize,
    time: usize,
    value: usize,
    service: Option<usize>,
    metric: Option<usize>,
    environment: Option<usize>,
    /// The metric of a file that names none: what its value column is called.
    name: String,
    /// What numeric times count; of the first one, where the header is silent.
    unit: Option<Unit>,
}

impl Columns {
    /// What the first line says, and whether it is a header; `None` where it
    /// is neither a header nor a sample.
    pub fn of_first_line(line: &str) -> Option<(Columns, bool)> {
        let delimiter = [b',', b';', b'\t']
            .into_iter()
            .find(|byte| line.as_bytes().contains(byte))?;
        let mut fields = Vec::new();
        for field in Fields::of(line, delimiter).take(COLUMNS_MAX + 1) {
            fields.push(field.ok()?);
        }
        if fields.len() > COLUMNS_MAX {
            return None;
        }
        let mut columns = Columns {
            delimiter,
            count: fields.len(),
            time: 0,
            value: 1,
            service: None,
            metric: None,
            environment: None,
            name: "value".to_owned(),
            unit: None,
        };
        if let [time, value] = fields.as_slice()
            && columns.time_of(time).is_ok()
            && value_of(value).is_ok()
        {
            return Some((columns, false));
        }
        columns.unit = None;
        let names: Vec<String> = fields.iter().map(|field| normal(field)).collect();
        let find = |wanted: &[&str]| {
            let place = |wanted: &&str| names.iter().position(|name| name == wanted);
            wanted.iter().find_map(place)
        };
        let bare: Vec<&str> = names.iter().map(|name| without_unit(name)).collect();
        columns.time = TIMES
            .iter()
            .find_map(|time| bare.iter().position(|name| name == time))?;
        columns.value = match find(&VALUES) {
            Some(value) => value,
            // Of two columns, the one that is not the time.
            None if names.len() == 2 => 1 - columns.time,
            None => return None,
        };
        columns.service = find(&SERVICES);
        columns.metric = find(&METRICS);
        columns.environment = find(&ENVIRONMENTS);
        columns.unit = Unit::of_name(&names[columns.time]);
        columns.name = fields[columns.value].to_string();
        (columns.name.len() <= NAME_MAX_BYTES).then_some((columns, true))
    }

    /// Reads a line.
    ///
    /// # Errors
    /// Says what is wrong with the line.
    pub fn read<'a>(&'a mut self, line: &'a [u8]) -> Result<Sample<'a>, String> {
        let line = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
        let (mut time, mut value) = (None, None);
        let (mut service, mut metric, mut environment) = (None, None, None);
        let mut count = 0;
        for (index, field) in Fields::of(line, self.delimiter).enumerate() {
            let field = field?;
            count = index + 1;
            if index == self.time {
                time = Some(field);
            } else if index == self.value {
                value = Some(field);
            } else if Some(index) == self.service {
                service = Some(field);
            } else if Some(index) == self.metric {
                metric = Some(field);
            } else if Some(index) == self.environment {
                environment = Some(field);
            }
        }
        let (Some(time), Some(value), true) = (time, value, count == self.count) else {
            return Err(format!("has {count} fields, not {}", self.count));
        };
        for name in [&service, &metric, &environment].into_iter().flatten() {
            if name.len() > NAME_MAX_BYTES {
                return Err(format!("has a name longer than {NAME_MAX_BYTES} bytes"));
            }
        }
        let at_ms = self.time_of(&time)?;
        Ok(Sample {
            environment: environment.filter(|name| !name.is_empty()),
            service: service.unwrap_or(Cow::Borrowed(SERVICE)),
            metric_name: metric.unwrap_or(Cow::Borrowed(&self.name)),
            at_ms,
            value: value_of(&value)?,
            value_text: None,
            labels: Labels::new(),
            labels_text: None,
        })
    }

    fn time_of(&mut self, text: &str) -> Result<i64, String> {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        let ms = match number {
            Some(number) => self
                .unit
                .get_or_insert_with(|| Unit::guess(number))
                .to_ms(text),
            None => calendar::parse(text),
        };
        ms.ok_or_else(|| format!("expected a time, found {text:?}"))
    }
}

/// A value; an empty field, `null` and the like are not finite.
fn value_of(text: &str) -> Result<f64, String> {
    match text {
        "" | "null" | "NULL" | "None" | "NA" | "N/A" => Ok(f64::NAN),
        _ => text
            .parse()
            .map_err(|_| format!("expected a number, found {text:?}")),
    }
}

/// A column's name as it is compared: lower case, `_` between words.
fn normal(name: &str) -> String {
    let name = name.trim_matches(|letter: char| letter == '@' || letter.is_whitespace());
    name.to_lowercase().replace([' ', '-', '.'], "_")
}

fn without_unit(name: &str) -> &str {
    match name.rsplit_once('_') {
        Some((bare, "utc")) => bare,
        Some((bare, _)) if Unit::of_name(name).is_some() => bare,
        _ => name,
    }
}

/// The fields of a line.
struct Fields<'a> {
    /// What is left; `None` behind the last field.
    rest: Option<&'a str>,
    delimiter: char,
}

impl<'a> Fields<'a> {
    fn of(line: &'a str, delimiter: u8) -> Fields<'a> {
        Fields {
            rest: Some(line),
            delimiter: char::from(delimiter),
        }
    }

    fn quoted(&mut self, inside: &'a str) -> Result<Cow<'a, str>, String> {
        let mut end = 0;
        loop {
            let Some(quote) = inside[end..].find('"') else {
                self.rest = None;
                return Err("has a quote that does not end".to_owned());
            };
            end += quote;
            if !inside[end + 1..].starts_with('"') {
                break;
            }
            end += 2;
        }
        let after = inside[end + 1..].trim_start_matches(' ');
        self.rest = after.strip_prefix(self.delimiter);
        if self.rest.is_none() && !after.is_empty() {
            return Err("has text behind a quoted field".to_owned());
        }
        let text = &inside[..end];
        Ok(if text.contains('"') {
            Cow::Owned(text.replace("\"\"", "\""))
        } else {
            Cow::Borrowed(text)
        })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Cow<'a, str>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        if let Some(inside) = rest.trim_start_matches(' ').strip_prefix('"') {
            return Some(self.quoted(inside));
        }
        let (field, after) = match rest.split_once(self.delimiter) {
            Some((field, after)) => (field, Some(after)),
            None => (rest, None),
        };
        self.rest = after;
        Some(Ok(Cow::Borrowed(field.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Result<Vec<String>, String> {
        Fields::of(line, b',')
            .map(|field| field.map(Cow::into_owned))
            .collect()
    }

    #[test]
    fn fields_may_be_quoted() {
        assert_eq!(
            fields(r#"a, "b,""c""" ,,d "#).unwrap(),
            ["a", "b,\"c\"", "", "d"]
        );
        assert_eq!(fields("").unwrap(), [""]);
        assert_eq!(fields("a,").unwrap(), ["a", ""]);
        assert!(fields("\"a").is_err() && fields("\"a\"b,c").is_err());
    }

    #[test]
    fn a_first_line_says_what_the_columns_are() {
        for (line, time, value, is_header) in [
            ("timestamp,value", 0, 1, true),
            ("Value;Time", 1, 0, true),
            ("\"date\"\t\"cpu_percent\"", 0, 1, true),
            ("id,timestamp_ms,service,metric_value,value", 1, 3, true),
            ("1795316645,5.5", 0, 1, false),
            ("2026-11-22 03:04:05,NaN", 0, 1, false),
        ] {
            let (columns, header) = Columns::of_first_line(line).unwrap();
            assert_eq!(
                (columns.time, columns.value, header),
                (time, value, is_header),
                "{line}"
            );
        }
        for line in [
            "a,b",
            "garbage",
            "1,2,3",
            "timestamp,a,b",
            "\"timestamp,value",
            "",
        ] {
            assert_eq!(Columns::of_first_line(line), None, "{line}");
        }
        let (columns, _) = Columns::of_first_line("date,cpu percent").unwrap();
        assert_eq!(columns.name, "cpu percent");
    }

    #[test]
    fn the_first_time_decides_for_all() {
        let (mut columns, _) = Columns::of_first_line("time,value").unwrap();
        assert_eq!(
            columns.read(b"99999999998,1").unwrap().at_ms,
            99_999_999_998_000
        );
        assert_eq!(
            columns.read(b"100000000001,1").unwrap().at_ms,
            100_000_000_001_000
        );
        let (mut columns, _) = Columns::of_first_line("time_ms,value").unwrap();
        assert_eq!(columns.read(b"5,1").unwrap().at_ms, 5);
        for line in [&b"5"[..], b"5,1,2", b"5,x", b"x,1", b"\xff,1", b"5,\"1"] {
            assert!(columns.read(line).is_err());
        }
        assert!(columns.read(b"6,").unwrap().value.is_nan());
    }
}
