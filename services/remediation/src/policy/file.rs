//! The policy's file: JSON, every field optional, unknown ones refused.

use super::hours::DAYS;
use super::{ClassRule, Freeze, Hours, Mode, Policy};
use midwatch_events::action::{ActionKind, RiskClass};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    mode: Option<Mode>,
    #[serde(default)]
    environments: BTreeMap<String, Mode>,
    #[serde(default)]
    stop: bool,
    #[serde(default)]
    forbidden: BTreeSet<ActionKind>,
    hourly_limit: Option<u32>,
    #[serde(default)]
    cool_down_seconds: BTreeMap<String, u32>,
    #[serde(default)]
    freeze: Vec<FreezeText>,
    #[serde(default)]
    classes: BTreeMap<RiskClass, ClassText>,
    undo: Option<UndoText>,
    approval_minutes: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassText {
    approvals: Option<u32>,
    approvers: Option<BTreeSet<String>>,
    #[serde(default)]
    auto: bool,
    hours: Option<HoursText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoursText {
    days: Vec<String>,
    from: String,
    to: String,
    #[serde(default)]
    utc_offset: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FreezeText {
    from: String,
    until: String,
    reason: String,
    #[serde(default)]
    environments: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UndoText {
    on_worse: bool,
    on_not_improved: bool,
}

/// Reads a policy. What the file does not say is as in [`Policy::default`].
///
/// # Errors
/// Names the line, or the field with its value and how to mend it.
pub fn parse(text: &str) -> Result<Policy, String> {
    let text: Text = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut policy = Policy::default();
    policy.mode = text.mode.unwrap_or(policy.mode);
    policy.environments = text.environments;
    policy.stop = text.stop;
    policy.forbidden = text.forbidden;
    if let Some(limit) = text.hourly_limit {
        if !(1..=1_000).contains(&limit) {
            return Err(format!(
                "hourly_limit is {limit}; set it to 1 to 1000, and `stop` to true to stop everything"
            ));
        }
        policy.hourly_limit = limit;
    }
    for (service, seconds) in text.cool_down_seconds {
        let cool_down_ms = i64::from(seconds) * 1_000;
        policy.cool_down_ms.insert(service, cool_down_ms);
    }
    for (index, freeze) in text.freeze.into_iter().enumerate() {
        policy.freezes.push(read_freeze(index, freeze)?);
    }
    for (class, rule) in text.classes {
        let rule = read_class(class, rule, &policy.classes[&class])?;
        policy.classes.insert(class, rule);
    }
    if let Some(undo) = text.undo {
        policy.undo.on_worse = undo.on_worse;
        policy.undo.on_not_improved = undo.on_not_improved;
    }
    if let Some(minutes) = text.approval_minutes {
        if !(1..=1_440).contains(&minutes) {
            return Err(format!(
                "approval_minutes is {minutes}; set it to 1 to 1440"
            ));
        }
        policy.approval_ms = i64::from(minutes) * 60_000;
    }
    Ok(policy)
}

fn read_class(class: RiskClass, text: ClassText, usual: &ClassRule) -> Result<ClassRule, String> {
    let field = format!("classes.{}", class.as_str());
    if text.auto && class != RiskClass::ReadOnly {
        return Err(format!(
            "{field}.auto is true; only read-only actions may run without approval"
        ));
    }
    let default = if text.auto { 0 } else { usual.approvals };
    let approvals = text.approvals.unwrap_or(default);
    let least = match class {
        RiskClass::Destructive => 2,
        RiskClass::ReadOnly if text.auto => 0,
        _ => 1,
    };
    if !(least..=5).contains(&approvals) {
        return Err(format!(
            "{field}.approvals is {approvals}; set it to {least} to 5"
        ));
    }
    let approvers = text.approvers.unwrap_or_else(|| usual.approvers.clone());
    if approvers
        .iter()
        .any(|name| name.trim() != name || name.is_empty())
    {
        return Err(format!(
            "{field}.approvers holds an empty name or one with spaces around it; write each as the operator is called, or \"*\""
        ));
    }
    // An empty list is a way to say that nobody may.
    let named = u32::try_from(approvers.len()).unwrap_or(u32::MAX);
    if !approvers.is_empty() && !approvers.contains("*") && named < approvals {
        return Err(format!(
            "{field}.approvers names {named}, but {approvals} approvals by different people are needed; name more, or \"*\""
        ));
    }
    let hours = text
        .hours
        .map(|hours| read_hours(&field, &hours))
        .transpose()?;
    Ok(ClassRule {
        approvals,
        approvers,
        hours,
    })
}

fn read_hours(field: &str, text: &HoursText) -> Result<Hours, String> {
    let mut days = BTreeSet::new();
    for name in &text.days {
        let day = DAYS.iter().position(|day| day == name);
        let day = day.and_then(|day| u8::try_from(day).ok()).ok_or_else(|| {
            format!(
                "{field}.hours.days holds {name:?}; known are {}",
                DAYS.join(", ")
            )
        })?;
        days.insert(day);
    }
    let clock = |name: &str, value: &str, most: i64| {
        read_clock(value)
            .filter(|minute| *minute <= most)
            .ok_or_else(|| {
                format!("{field}.hours.{name} is {value:?}; write it as HH:MM, for example 09:00")
            })
    };
    let from = clock("from", &text.from, 1_439)?;
    let to = clock("to", &text.to, 1_440)?;
    if from == to || days.is_empty() {
        return Err(format!(
            "{field}.hours are empty; name days, and a `to` that differs from `from`"
        ));
    }
    let offset = match text.utc_offset.as_str() {
        "" | "Z" => Some(0),
        other => match other.split_at_checked(1) {
            Some(("+", rest)) => read_clock(rest),
            Some(("-", rest)) => read_clock(rest).map(|minutes| -minutes),
            _ => None,
        },
    };
    let offset = offset
        .filter(|minutes| minutes.abs() <= 14 * 60)
        .ok_or_else(|| {
            format!(
                "{field}.hours.utc_offset is {:?}; write it as +HH:MM or -HH:MM",
                text.utc_offset
            )
        })?;
    Ok(Hours {
        days,
        from,
        to,
        offset,
    })
}

/// Minutes of `HH:MM`.
fn read_clock(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |part: &str| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours <= 24 && minutes < 60).then_some(hours * 60 + minutes)
}

fn read_freeze(index: usize, text: FreezeText) -> Result<Freeze, String> {
    let moment = |name: &str, value: &str| {
        OffsetDateTime::parse(value, &Rfc3339)
            .map(|at| at.unix_timestamp() * 1_000)
            .map_err(|_| {
                format!(
                    "freeze[{index}].{name} is {value:?}; write it as 2026-12-24T00:00:00Z or with an offset"
                )
            })
    };
    let (from_ms, until_ms) = (moment("from", &text.from)?, moment("until", &text.until)?);
    if until_ms <= from_ms {
        return Err(format!(
            "freeze[{index}].until is {:?}, which is not after from ({:?})",
            text.until, text.from
        ));
    }
    Ok(Freeze {
        from_ms,
        until_ms,
        reason: text.reason,
        environments: text.environments,
    })
}
