//! What a file says about metrics where their names say too little or lie
//! (`DETECTION_SEMANTICS`, TOML; `semantics.example.toml` shows each key).
//!
//! The first entry that matches a series counts, and only that one. The file
//! is read strictly: a key that does nothing would be believed to do something.

use super::Class;
use super::names::metric;
use super::traits::{Floor, Harm, TRAITS};
use midwatch_events::Severity;
use midwatch_events::knowledge::Catalogue;
use std::collections::BTreeMap;
use std::sync::Arc;
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

/// Entries of a file. A new series is compared with all of them once.
const MAX_RULES: usize = 1_000;
/// Readings in a row that may be asked for.
const MAX_READINGS: i64 = 1_000;
pub(super) const KEYS: &str = "match, service, class, direction, limit, floor, readings_to_start, \
                    severity_cap, missed, exhausts_at, page";

/// Where a metric is judged by a limit instead of by what is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    At(f64),
    /// Where it is exhausted: 100 %, or the size of the pool.
    Physical,
}

/// Where a growing metric ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Exhaustion {
    At(f64),
    /// Nothing to forecast.
    Never,
}

/// One entry. What it does not say stays as the name has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Which series: a name or a pattern with `*`. Without `{` it is compared
    /// with the metric's name and so counts for all of its instances.
    pub matches: String,
    /// Which services: a name or a pattern with `*`.
    pub service: Option<String>,
    pub class: Option<Class>,
    pub direction: Option<Harm>,
    pub limit: Option<Limit>,
    pub floor: Option<Floor>,
    pub readings_to_start: Option<usize>,
    /// No anomaly is graver.
    pub severity_cap: Option<Severity>,
    /// Whether its silence is an anomaly.
    pub missed: Option<bool>,
    pub exhausts_at: Option<Exhaustion>,
    /// If not, it is scored and drawn, and never an anomaly.
    pub page: bool,
}

/// What is known of metrics besides their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Semantics {
    rules: Vec<Arc<Rule>>,
    /// Of services, by metric: what the catalogue limits them to.
    capacities: BTreeMap<String, Vec<(String, f64)>>,
}

impl Semantics {
    /// Reads a file's text.
    ///
    /// # Errors
    /// All that is wrong with it, each in a sentence that names the entry, the
    /// key, the value and what is allowed.
    pub fn parse(text: &str) -> Result<Semantics, Vec<String>> {
        let file: DocumentMut = text
            .parse()
            .map_err(|error: toml_edit::TomlError| vec![error.to_string().trim().to_owned()])?;
        let mut faults = Vec::new();
        for (key, _) in file.iter().filter(|(key, _)| *key != "series") {
            faults.push(format!("`{key}` is unknown; write [[series]] entries only"));
        }
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        let tables = match file.get("series") {
            None => Vec::new(),
            Some(Item::ArrayOfTables(tables)) => tables.iter().collect::<Vec<&Table>>(),
            Some(_) => {
                faults.push("`series` is no list of entries; write [[series]]".to_owned());
                Vec::new()
            }
        };
        if tables.len() > MAX_RULES {
            faults.push(format!(
                "it has more than {MAX_RULES} entries; use patterns"
            ));
            return Err(faults);
        }
        for (number, table) in (1..).zip(tables) {
            let mut entry = Entry {
                number,
                table,
                faults: &mut faults,
            };
            if let Some(rule) = entry.rule() {
                if let Some(before) = rules.iter().position(|before| before.covers(&rule)) {
                    entry.fault(&format!(
                        "`match` = {:?} is never reached: entry {} ({:?}) matches all of it; remove one or put this one before it",
                        rule.matches,
                        before + 1,
                        rules[before].matches
                    ));
                }
                rules.push(Arc::new(rule));
            }
        }
        if faults.is_empty() {
            Ok(Semantics {
                rules,
                capacities: BTreeMap::new(),
            })
        } else {
            Err(faults)
        }
    }

    /// The same, with the `limits` that the catalogue gives for services: of
    /// the metric of that name or ending, `_max` left out.
    #[must_use]
    pub fn with_catalogue(&self, catalogue: &Catalogue) -> Semantics {
        let limits = |(key, value): (&String, &serde_json::Value)| {
            let value = value.as_f64().filter(|value| *value > 0.0)?;
            Some((key.strip_suffix("_max").unwrap_or(key).to_owned(), value))
        };
        let of = |entry: &midwatch_events::knowledge::CatalogueEntry| {
            let object = entry.rest.get("limits")?.as_object()?;
            Some((
                entry.name.clone(),
                object.iter().filter_map(limits).collect(),
            ))
        };
        Semantics {
            rules: self.rules.clone(),
            capacities: catalogue.iter().filter_map(of).collect(),
        }
    }

    /// The entry that counts for a series.
    #[must_use]
    pub fn rule(&self, service: &str, series: &str) -> Option<&Arc<Rule>> {
        self.rules.iter().find(|rule| rule.is_for(service, series))
    }

    /// What the catalogue limits a series to.
    pub(super) fn capacity(&self, service: &str, series: &str) -> Option<f64> {
        let name = metric(series);
        let is_of = |key: &str| {
            name.strip_suffix(key)
                .is_some_and(|head| head.is_empty() || head.ends_with('_'))
        };
        let known = self.capacities.get(service)?;
        known
            .iter()
            .find(|(key, _)| is_of(key))
            .map(|(_, value)| *value)
    }
}

impl Rule {
    fn is_for(&self, service: &str, series: &str) -> bool {
        let name = if self.matches.contains('{') {
            series
        } else {
            metric(series)
        };
        fits(&self.matches, name)
            && self
                .service
                .as_ref()
                .is_none_or(|pattern| fits(pattern, service))
    }

    /// Whether whatever `other` matches, this matches too: a pattern that fits
    /// the text of another fits all that the other does.
    fn covers(&self, other: &Rule) -> bool {
        let name = if self.matches.contains('{') {
            &other.matches
        } else {
            metric(&other.matches)
        };
        let services = match (&self.service, &other.service) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => fits(own, others),
        };
        services && fits(&self.matches, name)
    }
}

/// Whether `text` fits a pattern in which `*` stands for anything. Linear in
/// the text for each `*`: only the latest one is ever tried again.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let head = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(head) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((tail, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(tail)
}

/// An entry that is being read.
struct Entry<'a> {
    number: usize,
    table: &'a Table,
    faults: &'a mut Vec<String>,
}

impl Entry<'_> {
    fn fault(&mut self, words: &str) {
        self.faults.push(format!("entry {}: {words}", self.number));
    }

    fn wrong<T>(&mut self, key: &str, value: &Value, allowed: &str) -> Option<T> {
        let value = shown(Some(value));
        self.fault(&format!("`{key}` = {value}: use {allowed}"));
        None
    }

    /// The value of a key, where it is given.
    fn value(&mut self, key: &str, allowed: &str) -> Option<Value> {
        match self.table.get(key)? {
            Item::Value(value) => Some(value.clone()),
            _ => {
                self.fault(&format!("`{key}` is a table: use {allowed}"));
                None
            }
        }
    }

    fn rule(&mut self) -> Option<Rule> {
        let before = self.faults.len();
        let known: Vec<&str> = KEYS.split(", ").collect();
        for (key, _) in self.table.iter().filter(|(key, _)| !known.contains(key)) {
            self.fault(&format!("`{key}` is unknown; use {KEYS}"));
        }
        if !self.table.contains_key("match") {
            self.fault("`match` is missing; give a series' name, or a pattern with *");
        }
        let rule = Rule {
            matches: self.name("match").unwrap_or_default(),
            service: self.name("service"),
            class: self.class(),
            direction: self.choice("direction", &Harm::NAMES),
            limit: self.limit(),
            floor: self.floor(),
            readings_to_start: self.readings(),
            severity_cap: self.choice("severity_cap", &SEVERITIES),
            missed: self.flag("missed"),
            exhausts_at: self.exhausts_at(),
            page: self.flag("page").unwrap_or(true),
        };
        self.agree(&rule);
        (self.faults.len() == before).then_some(rule)
    }

    /// Values that are right each and contradict one another.
    fn agree(&mut self, rule: &Rule) {
        let quiet = match (rule.page, rule.direction, rule.class) {
            (false, ..) => Some("`page` = false"),
            (true, Some(Harm::None), _) => Some("`direction` = \"none\""),
            (true, None, Some(Class::Context)) => Some("`class` = \"context\""),
            _ => None,
        };
        let of_alarms = [
            "limit",
            "floor",
            "readings_to_start",
            "severity_cap",
            "exhausts_at",
        ];
        let idle = of_alarms.iter().find(|key| self.table.contains_key(key));
        if let (Some(quiet), Some(key)) = (quiet, idle) {
            self.fault(&format!(
                "`{key}` does nothing beside {quiet}: it never alarms"
            ));
        }
        let side = matches!(rule.direction, Some(Harm::Both | Harm::None));
        if rule.limit.is_some() && side {
            self.fault("`limit` needs `direction` = \"up\" or \"down\", or none given");
        }
        if rule.limit.is_some() && rule.floor.is_some() {
            self.fault(
                "`floor` does nothing beside `limit`: what has a limit is not judged by changes",
            );
        }
        let falls = rule.direction == Some(Harm::Down);
        if falls && matches!(rule.exhausts_at, Some(Exhaustion::At(_))) {
            self.fault("`exhausts_at` is of what grows; `direction` = \"down\" contradicts it");
        }
    }

    fn name(&mut self, key: &str) -> Option<String> {
        let allowed = "a name that is not empty, or a pattern with *";
        let value = self.value(key, allowed)?;
        match value.as_str() {
            Some(text) if !text.trim().is_empty() => Some(text.to_owned()),
            _ => self.wrong(key, &value, allowed),
        }
    }

    fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let allowed = names.join(", ");
        let value = self.value(key, &allowed)?;
        let found = choices
            .iter()
            .find(|(name, _)| Some(*name) == value.as_str());
        match found {
            Some((_, choice)) => Some(*choice),
            None => self.wrong(key, &value, &allowed),
        }
    }

    fn class(&mut self) -> Option<Class> {
        let classes: Vec<(&str, Class)> = TRAITS
            .iter()
            .map(|traits| (traits.name, traits.class))
            .collect();
        self.choice("class", &classes)
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        let value = self.value(key, "true or false")?;
        match value.as_bool() {
            Some(flag) => Some(flag),
            None => self.wrong(key, &value, "true or false"),
        }
    }

    fn limit(&mut self) -> Option<Limit> {
        let allowed = "a number in the metric's unit, or \"physical\"";
        let value = self.value("limit", allowed)?;
        match (number(&value), value.as_str()) {
            (Some(limit), _) => Some(Limit::At(limit)),
            (None, Some("physical")) => Some(Limit::Physical),
            _ => self.wrong("limit", &value, allowed),
        }
    }

    fn exhausts_at(&mut self) -> Option<Exhaustion> {
        let allowed =
            "a number above 0 in the metric's unit, inf for growth without an end, or \"never\"";
        let value = self.value("exhausts_at", allowed)?;
        let endless = value.as_float() == Some(f64::INFINITY);
        match (number(&value), value.as_str()) {
            (Some(end), _) if end > 0.0 => Some(Exhaustion::At(end)),
            (None, None) if endless => Some(Exhaustion::At(f64::INFINITY)),
            (None, Some("never")) => Some(Exhaustion::Never),
            _ => self.wrong("exhausts_at", &value, allowed),
        }
    }

    fn readings(&mut self) -> Option<usize> {
        let allowed = format!("a whole number from 1 to {MAX_READINGS}");
        let value = self.value("readings_to_start", &allowed)?;
        let whole = value.as_integer();
        let within = whole.filter(|count| (1..=MAX_READINGS).contains(count));
        match within.and_then(|count| usize::try_from(count).ok()) {
            Some(count) => Some(count),
            None => self.wrong("readings_to_start", &value, &allowed),
        }
    }

    fn floor(&mut self) -> Option<Floor> {
        let allowed = "{ absolute = … }, { relative = … } or both: numbers of 0 or more, in the metric's unit and in parts of the usual";
        let item = self.table.get("floor")?;
        let Some(table) = item.as_table_like() else {
            let value = shown(item.as_value());
            self.fault(&format!("`floor` = {value}: use {allowed}"));
            return None;
        };
        self.floor_of(table, allowed)
    }

    fn floor_of(&mut self, table: &dyn TableLike, allowed: &str) -> Option<Floor> {
        let mut floor = Floor::default();
        if table.is_empty() {
            self.fault(&format!("`floor` is empty: use {allowed}"));
            return None;
        }
        for (key, item) in table.iter() {
            let size = item.as_value().and_then(number).filter(|size| *size >= 0.0);
            match (key, size) {
                ("absolute", Some(size)) => floor.absolute = size,
                ("relative", Some(size)) => floor.relative = size,
                _ => {
                    let value = shown(item.as_value());
                    self.fault(&format!("`floor.{key}` = {value}: use {allowed}"));
                    return None;
                }
            }
        }
        Some(floor)
    }
}

const SEVERITIES: [(&str, Severity); 4] = [
    ("LOW", Severity::Low),
    ("MEDIUM", Severity::Medium),
    ("HIGH", Severity::High),
    ("CRITICAL", Severity::Critical),
];

/// A value as the file has it.
fn shown(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => format!("{:?}", text.value()),
        Some(Value::Integer(number)) => number.value().to_string(),
        Some(Value::Float(number)) => number.value().to_string(),
        Some(Value::Boolean(flag)) => flag.value().to_string(),
        Some(Value::Array(_)) => "a list".to_owned(),
        Some(Value::Datetime(_)) => "a date".to_owned(),
        Some(Value::InlineTable(_)) | None => "a table".to_owned(),
    }
}

/// A finite number, whole or not.
fn number(value: &Value) -> Option<f64> {
    let whole = value.as_integer().map(|whole| whole as f64);
    whole
        .or_else(|| value.as_float())
        .filter(|number| number.is_finite())
}
