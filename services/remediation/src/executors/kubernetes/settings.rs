//! Changes of what a container may use and is told. Pure.

use super::change::{expect_same, set, settled};
use crate::catalogue::quantity::{Quantity, is_same};
use crate::execution::Execution;
use crate::executors::hand::{argument, optional};
use serde_json::{Value, json};

/// The container of the pod template that is meant: the one that is named, the
/// only one, the one with the `variable`, or the one with the workload's name.
fn container<'a>(
    execution: &Execution,
    wanted: &'a mut Value,
    variable: Option<&str>,
) -> Result<&'a mut Value, String> {
    let workload = wanted["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let containers = wanted["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .ok_or("it has no containers")?;
    let has_variable = |container: &Value| {
        let env = container["env"].as_array();
        env.is_some_and(|env| env.iter().any(|one| one["name"].as_str() == variable))
    };
    let named = |name: &str| containers.iter().position(|one| one["name"] == name);
    let index = match optional(execution, "container") {
        Some(name) => named(name),
        None if containers.len() == 1 => Some(0),
        None => variable
            .and_then(|_| containers.iter().position(has_variable))
            .or_else(|| named(&workload)),
    };
    match index {
        Some(index) => Ok(&mut containers[index]),
        None => {
            let names = containers.iter().filter_map(|one| one["name"].as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            Err(format!(
                "it is not clear which container is meant, of {names}"
            ))
        }
    }
}

/// What limits were before they were raised, the newest first:
/// `<container>/<resource>=<as written>`. So the undo writes what stood there,
/// and not another spelling of the same amount.
pub const BEFORE: &str = "midwatch.io/limits-before";
/// So many of them are kept.
const KEPT: usize = 8;

/// Raises a limit of a container, or sets it back.
pub fn limit(execution: &Execution, wanted: &mut Value) -> Result<String, String> {
    let resource = argument(execution, "resource")?;
    if !["cpu", "memory"].contains(&resource) {
        return Err(format!("resource {resource:?} is neither cpu nor memory"));
    }
    let to = argument(execution, "limit")?;
    let size = Quantity::parse(to).ok_or_else(|| format!("limit {to:?} is no quantity"))?;
    let notes = notes(wanted);
    let container = container(execution, wanted, None)?;
    let now = &container["resources"]["limits"][resource];
    let now = now
        .as_str()
        .map(str::to_owned)
        .or_else(|| now.as_number().map(ToString::to_string))
        .ok_or_else(|| format!("it has no limit of {resource}"))?;
    if let Some(from) = optional(execution, "from_limit").filter(|from| !is_same(from, &now)) {
        expect_same(&format!("the limit of {resource}"), from, &now)?;
    }
    let present = Quantity::parse(&now);
    let present = present.ok_or_else(|| format!("its limit {now:?} is no quantity"))?;
    let is_raised = size.compare(&present).is_some_and(|order| order.is_gt());
    if !execution.is_undo && !is_raised {
        return Err(format!("{to} does not raise its limit of {now}"));
    }
    let name = container["name"].as_str().unwrap_or_default().to_owned();
    let of_this = format!("{name}/{resource}=");
    let before = |note: &String| {
        let before = note.strip_prefix(&of_this)?;
        is_same(before, to).then(|| before.to_owned())
    };
    let noted = notes.iter().find_map(before).filter(|_| execution.is_undo);
    let to = noted.as_deref().unwrap_or(to);
    set(container, &["resources", "limits", resource], json!(to));
    let mut notes: Vec<String> = notes
        .into_iter()
        .filter(|note| !note.starts_with(&of_this))
        .collect();
    if !execution.is_undo {
        notes.insert(0, format!("{of_this}{now}"));
    }
    notes.truncate(KEPT);
    note(wanted, &notes);
    Ok(format!("limit of {resource} of {name} {now} → {to}"))
}

fn notes(object: &Value) -> Vec<String> {
    let notes = object["metadata"]["annotations"][BEFORE].as_str();
    let notes = notes.unwrap_or_default().split_whitespace();
    notes.map(str::to_owned).collect()
}

fn note(wanted: &mut Value, notes: &[String]) {
    if !notes.is_empty() {
        set(
            wanted,
            &["metadata", "annotations", BEFORE],
            json!(notes.join(" ")),
        );
    } else if let Some(all) = wanted["metadata"]["annotations"].as_object_mut() {
        all.remove(BEFORE);
    }
}

/// Raises the size of a pool.
pub fn pool(execution: &Execution, wanted: &mut Value) -> Result<String, String> {
    let size = |text: &str| {
        let size: Result<u32, _> = text.parse();
        size.map_err(|_| format!("the size {text:?} is no number"))
    };
    let to = size(argument(execution, "size")?)?;
    if let Some(from) = optional(execution, "from_size").filter(|_| !execution.is_undo)
        && to <= size(from)?
    {
        return Err(format!("{to} does not raise the size of {from}"));
    }
    setting(execution, wanted, "variable", "size", "from_size")
}

/// Sets a variable of a workload or an entry of a configuration map; the three
/// last arguments say in which arguments its name and its values stand.
pub fn setting(
    execution: &Execution,
    wanted: &mut Value,
    name: &str,
    to: &str,
    from: &str,
) -> Result<String, String> {
    let (to, from) = (argument(execution, to)?, optional(execution, from));
    if optional(execution, "configmap").is_some() {
        return entry(execution, wanted, to, from);
    }
    settled(execution, wanted)?;
    let variable = argument(execution, name)?;
    let container = container(execution, wanted, Some(variable))?;
    if !container["env"].is_array() {
        container["env"] = json!([]);
    }
    let env = container["env"]
        .as_array_mut()
        .ok_or("it has no variables")?;
    let Some(found) = env.iter_mut().find(|one| one["name"] == variable) else {
        env.push(json!({"name": variable, "value": to}));
        return Ok(format!("{variable} unset → {to}"));
    };
    let now = found["value"]
        .as_str()
        .ok_or_else(|| format!("{variable} comes from elsewhere; change it there"))?
        .to_owned();
    unlike(variable, from, &now, to)?;
    found["value"] = json!(to);
    Ok(format!("{variable} {now} → {to}"))
}

/// Sets an entry of a configuration map that is there already.
fn entry(
    execution: &Execution,
    wanted: &mut Value,
    to: &str,
    from: Option<&str>,
) -> Result<String, String> {
    let key = argument(execution, "key")?;
    if wanted["immutable"] == json!(true) {
        return Err("it is immutable".to_owned());
    }
    let now = wanted["data"][key]
        .as_str()
        .ok_or_else(|| format!("it has no entry {key:?}"))?
        .to_owned();
    unlike(key, from, &now, to)?;
    wanted["data"][key] = json!(to);
    Ok(format!("{key} {now:?} → {to:?}"))
}

/// That a value is what it was when this was planned, and not yet what it shall
/// be.
fn unlike(what: &str, from: Option<&str>, now: &str, to: &str) -> Result<(), String> {
    if let Some(from) = from {
        expect_same(what, from, now)?;
    }
    if now == to {
        return Err(format!("{what} is {to:?} already"));
    }
    Ok(())
}
