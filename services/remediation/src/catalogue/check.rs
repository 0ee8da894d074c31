//! Whether an action is one that the catalogue would have made.

use super::form::{Form, Number, is_plain};
use super::kinds::{Parameter, Source, Spec, Undoing, spec};
use super::{Known, Quantity, fill, most, undo};
use midwatch_events::action::{Executor, TypedAction};
use std::collections::BTreeMap;
use std::fmt;

/// Why something does not run: the rule by its name, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub rule: &'static str,
    pub words: String,
}

impl Refusal {
    /// A refusal by a rule.
    #[must_use]
    pub fn new(rule: &'static str, words: impl Into<String>) -> Refusal {
        Refusal {
            rule,
            words: words.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.words, self.rule)
    }
}

/// Checks an action against the catalogue and against what is known in its
/// incident.
///
/// # Errors
/// The first rule that it breaks: `unobserved_service`, `unknown_argument`,
/// `missing_argument`, `metacharacter`, `malformed_argument`,
/// `unobserved_argument`, `out_of_bounds`, `nothing_changes`, `wrong_executor`,
/// `lowered_risk`, `altered_undo`, `altered_words` or `unproven_effect`.
pub fn check(action: &TypedAction, known: &Known) -> Result<(), Refusal> {
    let spec = spec(action.kind);
    let kind = action.kind.as_str();
    if !known.has("service", &action.service) {
        return Err(Refusal::new(
            "unobserved_service",
            format!("{:?} is no service of this incident", action.service),
        ));
    }
    for name in action.arguments.keys() {
        if !spec.parameters.iter().any(|one| one.name == name) {
            return Err(Refusal::new(
                "unknown_argument",
                format!("{kind} takes no argument {name:?}"),
            ));
        }
    }
    for parameter in spec.parameters {
        argument(spec, parameter, &action.arguments, known)?;
    }
    if let Undoing::Exchange(one, other) = spec.undoing
        && action.arguments.get(one) == action.arguments.get(other)
    {
        return Err(Refusal::new(
            "nothing_changes",
            format!("{one} and {other} of {kind} are the same"),
        ));
    }
    if let Undoing::Set(name, value) = spec.undoing
        && action.arguments.get(name).is_some_and(|is| is == value)
    {
        return Err(Refusal::new(
            "nothing_changes",
            format!("{kind} with {name}={value} is an undo and no action"),
        ));
    }
    frame(spec, action, known)
}

fn argument(
    spec: &Spec,
    parameter: &Parameter,
    arguments: &BTreeMap<String, String>,
    known: &Known,
) -> Result<(), Refusal> {
    let (kind, name) = (spec.kind.as_str(), parameter.name);
    let value = arguments.get(name).ok_or_else(|| {
        Refusal::new(
            "missing_argument",
            format!(
                "{kind} needs {}, and none was observed",
                name.replace('_', " ")
            ),
        )
    })?;
    let told = format!("{name}={value:?} of {kind}");
    if !is_plain(value) {
        return Err(Refusal::new(
            "metacharacter",
            format!("{told} may hold letters, digits and . _ - / @ : only"),
        ));
    }
    if !parameter.form.fits(value) {
        let rule = match parameter.form {
            Form::Count { .. } if Number::parse(value).is_some() => "out_of_bounds",
            _ => "malformed_argument",
        };
        return Err(Refusal::new(
            rule,
            format!("{told} does not have the form {:?}", parameter.form),
        ));
    }
    sourced(parameter, value, &told, arguments, known)
}

/// Whether a value comes from where its parameter's values come from.
fn sourced(
    parameter: &Parameter,
    value: &str,
    told: &str,
    arguments: &BTreeMap<String, String>,
    known: &Known,
) -> Result<(), Refusal> {
    let unobserved = || {
        Refusal::new(
            "unobserved_argument",
            format!(
                "{told} was neither observed in this incident nor stands in the service catalogue"
            ),
        )
    };
    match parameter.source {
        Source::Seen(seen) => known.has(seen, value).then_some(()).ok_or_else(unobserved),
        Source::SeenWith(seen, with) => {
            let mut all: Vec<&str> = Vec::new();
            for other in with {
                all.push(arguments.get(*other).ok_or_else(unobserved)?);
            }
            all.push(value);
            known
                .has(seen, &all.join(" "))
                .then_some(())
                .ok_or_else(unobserved)
        }
        Source::Grown { of, percent } => {
            let from = arguments.get(of).and_then(|from| Number::parse(from));
            let within = from.zip(Number::parse(value)).is_some_and(|(from, to)| {
                let most = from.grown(percent).map_or(0, |most| most.value);
                to.value > from.value && to.value <= most
            });
            within.then_some(()).ok_or_else(|| {
                Refusal::new(
                    "out_of_bounds",
                    format!("{told} must be more than {of} and at most {percent} % of it"),
                )
            })
        }
        Source::Raised {
            of,
            resource,
            percent,
        } => {
            let of_name = |name: &str| arguments.get(name).map(String::as_str);
            raised(of_name(of), of_name(resource), percent, value).ok_or_else(|| {
                Refusal::new(
                    "out_of_bounds",
                    format!(
                        "{told} must be more than {of}, at most {percent} % of it and at most {}",
                        of_name(resource)
                            .and_then(most)
                            .map_or_else(|| "nothing".to_owned(), |most| most.to_string())
                    ),
                )
            })
        }
        Source::Fixed => Ok(()),
    }
}

/// Whether an amount lies above the one that it is raised from, and within both
/// bounds.
fn raised(from: Option<&str>, resource: Option<&str>, percent: u64, to: &str) -> Option<()> {
    let (from, to) = (Quantity::parse(from?)?, Quantity::parse(to)?);
    let is_more = to.compare(&from)?.is_gt();
    let is_bounded = to.compare(&from.grown(percent)?)?.is_le();
    let is_possible = to.compare(&most(resource?)?)?.is_le();
    (is_more && is_bounded && is_possible).then_some(())
}

/// All but the arguments: none of it is the proposer's to choose.
fn frame(spec: &Spec, action: &TypedAction, known: &Known) -> Result<(), Refusal> {
    let kind = spec.kind.as_str();
    let executor = if known.simulated {
        Executor::Simulator
    } else {
        spec.executor
    };
    if action.executor != executor {
        return Err(Refusal::new(
            "wrong_executor",
            format!(
                "{kind} is carried out by {} here, not by {}",
                executor.as_str(),
                action.executor.as_str()
            ),
        ));
    }
    if action.risk < spec.risk {
        return Err(Refusal::new(
            "lowered_risk",
            format!(
                "{kind} is {}, not {}",
                spec.risk.as_str(),
                action.risk.as_str()
            ),
        ));
    }
    if action.undo != undo(spec, &action.arguments) {
        return Err(Refusal::new(
            "altered_undo",
            format!("the undo of {kind} is not the one that the catalogue makes"),
        ));
    }
    let blast_radius = fill(spec.blast_radius, &action.arguments);
    if action.pre_checks != spec.pre_checks(&action.arguments)
        || action.blast_radius != blast_radius
    {
        return Err(Refusal::new(
            "altered_words",
            format!("pre-checks and blast radius of {kind} are not those of the catalogue"),
        ));
    }
    let effect = &action.effect;
    let measured = format!("{} {}", effect.service, effect.metric);
    // Nobody expects anything of a look; it is about the incident all the same.
    let about = if action.kind.only_looks() {
        "subject"
    } else {
        "measure"
    };
    if !known.has(about, &measured)
        || !effect.baseline_value.is_finite()
        || effect.within_ms != spec.within_ms
    {
        return Err(Refusal::new(
            "unproven_effect",
            format!(
                "{kind} must be measured on a metric of this incident within {} s",
                spec.within_ms / 1_000
            ),
        ));
    }
    Ok(())
}
