//! The classes for people: the table in `THRESHOLDS.md`.

use super::traits::{End, Floor, Grades, Harm, TRAITS, Traits};
use midwatch_events::AnomalyType;
use std::fmt::Write as _;

/// The classes as a Markdown table.
#[must_use]
pub fn table() -> String {
    let mut out = "| class | unit | harm | limit | least change | readings | CRITICAL / HIGH | kind | forecast to | why |\n\
                   |---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for traits in &TRAITS {
        let harm = Harm::NAMES.iter().find(|(_, harm)| *harm == traits.harm);
        let limit = traits.limit.map_or("–".to_owned(), |limit| {
            let side = if traits.harm == Harm::Down {
                "≤"
            } else {
                "≥"
            };
            format!("{side} {limit}")
        });
        writeln!(
            out,
            "| `{}` | {} | {} | {limit} | {} | {} | {} | {} | {} | {} |",
            traits.name,
            traits.unit,
            harm.map_or("", |(name, _)| name),
            least_change(traits),
            readings(traits),
            grades(traits),
            kind(traits),
            end(traits.end),
            traits.why,
        )
        .expect("a string takes everything");
    }
    out
}

fn readings(traits: &Traits) -> String {
    match traits.lasting {
        0 => traits.readings.to_string(),
        lasting => format!(
            "{} (near the floor {lasting})",
            traits.readings.min(lasting)
        ),
    }
}

fn least_change(traits: &Traits) -> String {
    if traits.limit.is_some() || traits.harm == Harm::None {
        return "–".to_owned();
    }
    let Floor { absolute, relative } = traits.floor;
    let percent = format!("{:.0} % of the usual", 100.0 * relative);
    match (absolute > 0.0, relative > 0.0) {
        (true, true) => format!("{absolute} and {percent}"),
        (true, false) => absolute.to_string(),
        (false, true) => percent,
        (false, false) => "–".to_owned(),
    }
}

fn grades(traits: &Traits) -> String {
    if traits.harm == Harm::None {
        return "–".to_owned();
    }
    match traits.grades {
        Grades::Sigma(critical, high) if critical.is_infinite() => format!("never / {high} σ"),
        Grades::Sigma(critical, high) => format!("{critical} / {high} σ"),
        Grades::Value(critical, high) if high.is_infinite() => format!("{critical} / always"),
        Grades::Value(critical, high) => format!("{critical} / {high}"),
        Grades::Always(severity) => format!("always {severity}"),
    }
}

fn kind(traits: &Traits) -> String {
    let kind = match (traits.above, traits.below) {
        (AnomalyType::Unknown, below) => below,
        (above, _) => above,
    };
    let side = match traits.harm {
        Harm::Both if kind != AnomalyType::Unknown => " (below)",
        _ => "",
    };
    format!("{}{side}", kind.as_str())
}

fn end(end: End) -> &'static str {
    match end {
        End::No => "–",
        End::Full => "100 %",
        End::Pool => "the pool's size",
        End::Endless => "no end",
    }
}
