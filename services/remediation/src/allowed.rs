//! What may be acted on beside workloads: units, logs, paths and scripts of
//! hosts, and addresses of webhooks, by name. The planner proposes nothing else,
//! and the executors refuse everything else. Pure, but for [`read`].
//!
//! The file is JSON as in `infrastructure/remediation/allowed.example.json`;
//! `*` stands for every host or service, and its entries come after their own.

use crate::catalogue::Form;
use crate::steps::host_of;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Largest file, bytes: a thousand hosts with twenty entries each.
const MOST_BYTES: u64 = 1_048_576;

/// What one host or service lists, in the order of preference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lists {
    /// systemd units that may be restarted; hosts only.
    pub units: Vec<String>,
    /// Files of `/etc/logrotate.d`; hosts only.
    pub logs: Vec<String>,
    /// Folders below which old files may be removed; hosts only.
    pub clearable_paths: Vec<String>,
    /// Files of `REMEDIATION_SCRIPTS_DIR` that change something.
    pub scripts: Vec<String>,
    /// Files of `REMEDIATION_SCRIPTS_DIR` that only look.
    pub diagnostics: Vec<String>,
    /// Names of `hooks`.
    pub hooks: Vec<String>,
}

/// Where a named webhook is; both absent for `REMEDIATION_WEBHOOK_URL`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HookPlace {
    pub url: Option<String>,
    /// A file with the secret that requests are signed with.
    pub secret_file: Option<PathBuf>,
}

/// Everything that is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allowed {
    /// By name, as in `host/<name>`.
    pub hosts: BTreeMap<String, Lists>,
    /// By name.
    pub services: BTreeMap<String, Lists>,
    pub hooks: BTreeMap<String, HookPlace>,
}

impl Allowed {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// Names the line, or the entry with its value and how to mend it.
    pub fn parse(text: &str) -> Result<Allowed, String> {
        let allowed: Allowed = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for (name, lists) in &allowed.hosts {
            allowed.check(&format!("hosts.{name}"), lists)?;
        }
        for (name, lists) in &allowed.services {
            let field = format!("services.{name}");
            for (of_host, list) in lists.of_hosts() {
                if !list.is_empty() {
                    return Err(format!("{field}.{of_host} is for hosts; move it to hosts"));
                }
            }
            allowed.check(&field, lists)?;
        }
        for (name, place) in &allowed.hooks {
            let field = format!("hooks.{name}");
            fits(
                &field,
                "its name",
                name,
                Form::Name,
                "lower-case letters, digits and -",
            )?;
            if place.url.is_some() != place.secret_file.is_some() {
                return Err(format!(
                    "{field} has only one of url and secret_file; give both, or neither for \
                     REMEDIATION_WEBHOOK_URL"
                ));
            }
        }
        Ok(allowed)
    }

    fn check(&self, field: &str, lists: &Lists) -> Result<(), String> {
        let forms = [
            (
                "units",
                &lists.units,
                Form::Unit,
                "a unit such as nginx.service",
            ),
            (
                "logs",
                &lists.logs,
                Form::Name,
                "a file of /etc/logrotate.d, such as nginx",
            ),
            (
                "clearable_paths",
                &lists.clearable_paths,
                Form::Path,
                "an absolute folder at least two levels deep, such as /var/cache/app",
            ),
            (
                "scripts",
                &lists.scripts,
                Form::Name,
                "a file of REMEDIATION_SCRIPTS_DIR",
            ),
            (
                "diagnostics",
                &lists.diagnostics,
                Form::Name,
                "a file of REMEDIATION_SCRIPTS_DIR",
            ),
            ("hooks", &lists.hooks, Form::Name, "a name of hooks"),
        ];
        for (name, list, form, wanted) in forms {
            for (index, value) in list.iter().enumerate() {
                fits(
                    &format!("{field}.{name}[{index}]"),
                    "it",
                    value,
                    form,
                    wanted,
                )?;
            }
        }
        if let Some(hook) = lists
            .hooks
            .iter()
            .find(|hook| !self.hooks.contains_key(*hook))
        {
            return Err(format!(
                "{field}.hooks names {hook:?}, which is not under hooks; add it there, or remove \
                 it here"
            ));
        }
        // What only looks runs without approval where the policy lets it.
        let changing = |name: &&String| {
            let mut all = self.hosts.values().chain(self.services.values());
            all.any(|lists| lists.scripts.contains(name))
        };
        if let Some(name) = lists.diagnostics.iter().find(changing) {
            return Err(format!(
                "{field}.diagnostics names {name:?}, which a list of scripts has as well; a \
                 diagnostic must change nothing: remove it from one of the two"
            ));
        }
        Ok(())
    }

    /// What a service, or a host as `host/<name>`, lists: its own first, then
    /// what holds for all.
    #[must_use]
    pub fn of(&self, service: &str) -> Lists {
        let (all, name) = match host_of(service) {
            Some(host) => (&self.hosts, host),
            None => (&self.services, service),
        };
        let mut merged = all.get(name).cloned().unwrap_or_default();
        if let Some(rest) = all.get("*") {
            let more = rest.clone();
            for (list, more) in [
                (&mut merged.units, more.units),
                (&mut merged.logs, more.logs),
                (&mut merged.clearable_paths, more.clearable_paths),
                (&mut merged.scripts, more.scripts),
                (&mut merged.diagnostics, more.diagnostics),
                (&mut merged.hooks, more.hooks),
            ] {
                let new: Vec<String> = more.into_iter().filter(|one| !list.contains(one)).collect();
                list.extend(new);
            }
        }
        merged
    }

    /// Scripts that only look, of any host or service.
    #[must_use]
    pub fn diagnostics(&self) -> BTreeSet<String> {
        let all = self.hosts.values().chain(self.services.values());
        all.flat_map(|lists| lists.diagnostics.clone()).collect()
    }
}

impl Lists {
    fn of_hosts(&self) -> [(&'static str, &[String]); 3] {
        [
            ("units", &self.units),
            ("logs", &self.logs),
            ("clearable_paths", &self.clearable_paths),
        ]
    }
}

fn fits(field: &str, what: &str, value: &str, form: Form, wanted: &str) -> Result<(), String> {
    if form.fits(value) {
        return Ok(());
    }
    Err(format!("{field}: {what} is {value:?}; write {wanted}"))
}

/// The file as it is now.
///
/// # Errors
/// It cannot be read or used, and how to mend it.
pub fn read(path: &Path) -> Result<Allowed, String> {
    let found = std::fs::metadata(path).map_err(|error| format!("it cannot be read: {error}"))?;
    if !found.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if found.len() > MOST_BYTES {
        return Err(format!(
            "it is larger than {MOST_BYTES} bytes, so it is some other file"
        ));
    }
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))?;
    Allowed::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_entry_is_named_with_its_place_and_how_to_mend_it() {
        for (text, told) in [
            ("{\n\"host\": {}}", "unknown field `host`"),
            (r#"{"hosts": {"a": {"unit": []}}}"#, "unknown field `unit`"),
            (
                r#"{"hosts": {"a": {"units": ["nginx"]}}}"#,
                "hosts.a.units[0]: it is \"nginx\"; write a unit such as nginx.service",
            ),
            (
                r#"{"hosts": {"*": {"clearable_paths": ["/var/x", "/var"]}}}"#,
                "hosts.*.clearable_paths[1]: it is \"/var\"; write an absolute folder",
            ),
            (r#"{"hosts": {"a": {"logs": ["../x"]}}}"#, "hosts.a.logs[0]"),
            (
                r#"{"hosts": {"a": {"scripts": ["x;id"]}}}"#,
                "hosts.a.scripts[0]",
            ),
            (
                r#"{"services": {"shop": {"units": ["a.service"]}}}"#,
                "services.shop.units is for hosts; move it to hosts",
            ),
            (
                r#"{"services": {"shop": {"hooks": ["fail-over"]}}}"#,
                "services.shop.hooks names \"fail-over\", which is not under hooks; add it",
            ),
            (
                r#"{"hooks": {"fail-over": {"url": "https://a.example/"}}}"#,
                "hooks.fail-over has only one of url and secret_file",
            ),
            (r#"{"hooks": {"Fail Over": {}}}"#, "hooks.Fail Over"),
            (
                r#"{"hosts": {"a": {"diagnostics": ["x"]}}, "services": {"b": {"scripts": ["x"]}}}"#,
                "hosts.a.diagnostics names \"x\", which a list of scripts has as well",
            ),
        ] {
            let error = Allowed::parse(text).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_hosts_own_entries_come_before_those_of_all() {
        let allowed = Allowed::parse(
            r#"{"hosts": {"*": {"logs": ["syslog", "nginx"]}, "web-1": {"logs": ["nginx"]}},
                "services": {"*": {"hooks": ["page"]}}, "hooks": {"page": {}}}"#,
        )
        .expect("well formed");
        assert_eq!(allowed.of("host/web-1").logs, ["nginx", "syslog"]);
        assert_eq!(allowed.of("host/web-2").logs, ["syslog", "nginx"]);
        assert_eq!(allowed.of("web-1").logs, [""; 0], "a service is no host");
        assert_eq!(allowed.of("shop").hooks, ["page"]);
    }
}
