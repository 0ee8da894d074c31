//! The action catalogue: everything that can be done at all, which arguments it
//! takes, how grave it is, and what takes it back. Pure.
//!
//! A typed action is never written by hand, a model or a runbook: [`build`]
//! makes it from a kind and the names that were observed, and [`check`] makes
//! it again and compares. What is not what the catalogue would have made does
//! not run.

mod check;
mod form;
mod kinds;
pub mod quantity;

pub use check::{Refusal, check};
pub use form::{Form, Number};
pub use kinds::{Parameter, Source, Spec, Undoing, spec};
pub use quantity::Quantity;

use midwatch_events::action::{ActionKind, Executor, ExpectedEffect, TypedAction, Undo};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What may stand in an action of one incident: by name, the values that were
/// observed in it or that the service catalogue records. The names are those
/// of [`Source::Seen`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Whether actions of this incident go to the failure simulator.
    pub simulated: bool,
    pub values: BTreeMap<String, BTreeSet<String>>,
}

impl Known {
    /// Adds a value.
    pub fn see(&mut self, name: &str, value: impl Into<String>) {
        let values = self.values.entry(name.to_owned()).or_default();
        values.insert(value.into());
    }

    /// Whether the value was seen under the name.
    #[must_use]
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.values
            .get(name)
            .is_some_and(|values| values.contains(value))
    }

    /// The value, where exactly one was seen.
    fn only(&self, name: &str) -> Option<&str> {
        let values = self.values.get(name)?;
        let mut values = values.iter();
        let first = values.next()?;
        values.next().is_none().then_some(first.as_str())
    }
}

/// The typed action of a kind on `service`. Arguments that are not `given` are
/// taken from what is known where there is exactly one value, or computed.
///
/// # Errors
/// Says in words why there is none: an argument is missing, was not observed
/// or is out of bounds.
pub fn build(
    kind: ActionKind,
    service: &str,
    given: &BTreeMap<String, String>,
    effect: ExpectedEffect,
    known: &Known,
) -> Result<TypedAction, Refusal> {
    let spec = spec(kind);
    let mut arguments = given.clone();
    for parameter in spec.parameters {
        if arguments.contains_key(parameter.name) {
            continue;
        }
        if let Some(value) = derived(parameter, &arguments, known) {
            arguments.insert(parameter.name.to_owned(), value);
        }
    }
    let undo = undo(spec, &arguments);
    let action = TypedAction {
        kind,
        service: service.to_owned(),
        risk: spec.risk,
        executor: if known.simulated {
            Executor::Simulator
        } else {
            spec.executor
        },
        pre_checks: spec.pre_checks(&arguments),
        blast_radius: fill(spec.blast_radius, &arguments),
        effect: ExpectedEffect {
            within_ms: spec.within_ms,
            ..effect
        },
        undo,
        arguments,
    };
    check(&action, known)?;
    Ok(action)
}

/// The value of a parameter that nobody gave.
fn derived(
    parameter: &Parameter,
    arguments: &BTreeMap<String, String>,
    known: &Known,
) -> Option<String> {
    match parameter.source {
        Source::Seen(name) => known.only(name).map(str::to_owned),
        Source::SeenWith(name, with) => {
            let prefix = with
                .iter()
                .map(|name| arguments.get(*name).map(String::as_str))
                .collect::<Option<Vec<_>>>()?
                .join(" ");
            let mut found = known
                .values
                .get(name)?
                .iter()
                .filter_map(|value| value.strip_prefix(&prefix)?.strip_prefix(' '));
            let first = found.next()?;
            found.next().is_none().then(|| first.to_owned())
        }
        Source::Grown { of, percent } => Some(
            Number::parse(arguments.get(of)?)?
                .grown(percent)?
                .to_string(),
        ),
        Source::Raised {
            of,
            resource,
            percent,
        } => {
            let from = Quantity::parse(arguments.get(of)?)?;
            let (grown, most) = (from.grown(percent)?, most(arguments.get(resource)?)?);
            let is_more = grown.compare(&most)? == std::cmp::Ordering::Greater;
            Some(if is_more { most } else { grown }.to_string())
        }
        Source::Fixed => match parameter.form {
            Form::OneOf([only, ..]) => Some((*only).to_owned()),
            Form::Count { min, .. } => Some(min.to_string()),
            _ => None,
        },
    }
}

/// The most that a limit of this resource is raised to.
pub(super) fn most(resource: &str) -> Option<Quantity> {
    let found = kinds::MOST_OF.iter().find(|(name, _)| *name == resource);
    Quantity::parse(found?.1)
}

/// What takes an action with these arguments back.
fn undo(spec: &Spec, arguments: &BTreeMap<String, String>) -> Option<Undo> {
    let mut back = arguments.clone();
    match spec.undoing {
        Undoing::None(_) | Undoing::Nothing => return None,
        Undoing::Exchange(one, other) => {
            back.insert(one.to_owned(), arguments.get(other)?.clone());
            back.insert(other.to_owned(), arguments.get(one)?.clone());
        }
        Undoing::Set(name, value) => {
            back.insert(name.to_owned(), value.to_owned());
        }
    }
    Some(Undo {
        kind: spec.kind,
        command: spec.command(&back),
        arguments: back,
    })
}

/// What a person would type to do it.
#[must_use]
pub fn command(action: &TypedAction) -> String {
    spec(action.kind).command(&action.arguments)
}

/// The words for the step's `rollback`: the command that undoes it, or `none: `
/// and why there is none.
#[must_use]
pub fn rollback(action: &TypedAction) -> String {
    match (&action.undo, &spec(action.kind).undoing) {
        (Some(undo), _) => undo.command.clone(),
        (None, Undoing::None(why)) => format!("none: {why}"),
        (None, Undoing::Nothing) => "none: read-only".to_owned(),
        (None, _) => "none: the catalogue knows none for these arguments".to_owned(),
    }
}

/// The undo of an action as an action of its own, for an executor. It has no
/// undo itself.
#[must_use]
pub fn undo_action(action: &TypedAction) -> Option<TypedAction> {
    let undo = action.undo.as_ref()?;
    Some(TypedAction {
        kind: undo.kind,
        arguments: undo.arguments.clone(),
        pre_checks: spec(undo.kind).pre_checks(&undo.arguments),
        blast_radius: fill(spec(undo.kind).blast_radius, &undo.arguments),
        undo: None,
        ..action.clone()
    })
}

/// Replaces `{name}` by the argument of that name.
fn fill(template: &str, arguments: &BTreeMap<String, String>) -> String {
    let mut text = template.to_owned();
    for (name, value) in arguments {
        // Values hold no braces, so that none is searched again.
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}
