//! Sets the executors up from the configuration. Nothing acts on anything that
//! no setting names.

use super::Executors;
use super::hand::Hand;
use super::kubernetes::{Api, Kubernetes};
use super::local::{Local, LocalSettings};
use super::silence::Alertmanager;
use super::simulated::Simulated;
use super::webhook::{Webhook, WebhookHand, client};
use crate::allowed::{self, Allowed};
use anyhow::Context as _;
use midwatch_clients::postgres::Postgres;
use midwatch_events::action::Executor;
use midwatch_runtime::config::Settings;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the kernel says what this machine is called.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

/// How an executor is set up.
pub(super) fn hint(executor: Executor) -> &'static str {
    match executor {
        Executor::Kubernetes => {
            "set REMEDIATION_KUBECONFIG to a kubeconfig, or to `infer` for the cluster that this \
             process runs in"
        }
        Executor::Local => "set REMEDIATION_LOCAL=1 on the host that commands shall run on",
        Executor::Webhook => {
            "name hooks in REMEDIATION_ALLOWED_FILE, or set REMEDIATION_WEBHOOK_URL with \
             REMEDIATION_WEBHOOK_SECRET_FILE, and REMEDIATION_ALERTMANAGER_URL for silences"
        }
        Executor::Simulator => "set SIMULATOR_ACTIONS_URL to the simulator's address",
    }
}

impl Executors {
    /// Sets up the executors that the settings name, and says which.
    ///
    /// # Errors
    /// A setting cannot be used.
    pub async fn connect(settings: &Settings, postgres: Postgres) -> anyhow::Result<Executors> {
        let machine = match settings.get("HOST_NAME") {
            Some(name) => name,
            None => std::fs::read_to_string(HOST_NAME_FILE)
                .with_context(|| format!("{HOST_NAME_FILE} cannot be read; set HOST_NAME"))?
                .trim()
                .to_owned(),
        };
        let slot = settings.slot();
        let allowed = allowed(settings);
        let mut hands: BTreeMap<Executor, Arc<dyn Hand>> = BTreeMap::new();
        let mut named = Vec::new();
        if let Some(text) = settings.get("REMEDIATION_KUBECONFIG") {
            let path = (text != "infer").then(|| PathBuf::from(&text));
            let (api, address) = Api::connect(path.as_deref()).await.with_context(|| {
                format!("REMEDIATION_KUBECONFIG is {text:?}: name a kubeconfig, or `infer`")
            })?;
            named.push(format!("kubernetes at {address}"));
            hands.insert(Executor::Kubernetes, Arc::new(Kubernetes::new(api)));
        }
        if settings.flag("REMEDIATION_LOCAL", false) {
            let local = local(settings, &machine, &allowed);
            named.push(format!("local commands on {machine}"));
            hands.insert(Executor::Local, Arc::new(local));
        }
        let webhook = webhook(settings)?;
        let hooks = hooks(settings, &allowed, webhook.is_some());
        let alertmanager = settings
            .get("REMEDIATION_ALERTMANAGER_URL")
            .map(|url| {
                Alertmanager::new(&url).map_err(|error| bad("ALERTMANAGER_URL", &url, &error))
            })
            .transpose()?;
        if webhook.is_some() || alertmanager.is_some() || !hooks.is_empty() {
            let parts = [
                webhook.as_ref().map(|hook| format!("webhook {hook}")),
                alertmanager
                    .as_ref()
                    .map(|one| format!("silences of {one}")),
            ];
            named.extend(parts.into_iter().flatten());
            named.extend(hooks.keys().map(|name| format!("hook {name}")));
            let hand = WebhookHand {
                webhook,
                hooks,
                alertmanager,
            };
            hands.insert(Executor::Webhook, Arc::new(hand));
        }
        if let Some(url) = settings.get("SIMULATOR_ACTIONS_URL") {
            named.push("the simulator".to_owned());
            hands.insert(
                Executor::Simulator,
                Arc::new(Simulated::new(client()?, &url)),
            );
        }
        settings.finish()?;
        if named.is_empty() {
            tracing::info!("no executor is set up: every action will fail, and say so");
        } else {
            tracing::info!(executors = named.join(", "), "actions can be carried out");
        }
        Ok(Executors::new(hands, postgres, &slot, &machine))
    }
}

/// What `REMEDIATION_ALLOWED_FILE` lists; nothing where it is not set.
pub(crate) fn allowed(settings: &Settings) -> Allowed {
    let Some(path) = settings.get("REMEDIATION_ALLOWED_FILE") else {
        return Allowed::default();
    };
    allowed::read(Path::new(&path)).unwrap_or_else(|problem| {
        let fix = format!("{problem}; mend the file, or unset the variable for no such actions");
        settings.problem("REMEDIATION_ALLOWED_FILE", &path, &fix);
        Allowed::default()
    })
}

/// The webhooks by name.
fn hooks(
    settings: &Settings,
    allowed: &Allowed,
    has_common: bool,
) -> BTreeMap<String, Option<Webhook>> {
    let mut hooks = BTreeMap::new();
    for (name, place) in &allowed.hooks {
        let hook = match (&place.url, &place.secret_file) {
            (Some(url), Some(file)) => std::fs::read_to_string(file)
                .map_err(|error| format!("secret_file {} cannot be read: {error}", file.display()))
                .and_then(|secret| {
                    let made = Webhook::new(url, secret.trim());
                    made.map_err(|error| format!("url {}: {error:#}", bare(url)))
                })
                .map(Some),
            _ if has_common => Ok(None),
            _ => Err("give it url and secret_file, or set REMEDIATION_WEBHOOK_URL".to_owned()),
        };
        match hook {
            Ok(hook) => {
                hooks.insert(name.clone(), hook);
            }
            Err(problem) => {
                let path = settings.text("REMEDIATION_ALLOWED_FILE", "");
                let problem = format!("hooks.{name}: {problem}");
                settings.problem("REMEDIATION_ALLOWED_FILE", &path, &problem);
            }
        }
    }
    hooks
}

fn local(settings: &Settings, machine: &str, allowed: &Allowed) -> Local {
    let lists = allowed.of(&format!("host/{machine}"));
    let folder = |name: &str| settings.get(name).map(PathBuf::from);
    let roots = settings.text("REMEDIATION_DISK_ROOTS", "");
    let mut roots: Vec<PathBuf> = roots
        .split(':')
        .filter(|root| !root.is_empty())
        .map(PathBuf::from)
        .collect();
    for root in &roots {
        // `/` alone has one component, `/var` has two.
        if !root.is_absolute() || root.components().count() < 3 {
            let fix =
                "name folders at least two levels deep, such as /var/log, with : between them";
            settings.problem("REMEDIATION_DISK_ROOTS", &root.to_string_lossy(), fix);
        }
    }
    roots.extend(lists.clearable_paths.iter().map(PathBuf::from));
    let scripts = folder("REMEDIATION_SCRIPTS_DIR");
    if let Some(folder) = scripts.as_ref().filter(|folder| !folder.is_dir()) {
        let fix = "name a folder of executable files, or unset it";
        settings.problem("REMEDIATION_SCRIPTS_DIR", &folder.to_string_lossy(), fix);
    }
    let state = folder("REMEDIATION_STATE_DIR")
        .unwrap_or_else(|| Path::new("/var/lib/midwatch/actions").to_path_buf());
    Local::new(LocalSettings {
        machine: machine.to_owned(),
        scripts,
        diagnostics: allowed.diagnostics(),
        allowed: Some(allowed.clone()),
        roots,
        units: Some(lists.units.into_iter().collect()),
        state,
        ..LocalSettings::default()
    })
}

fn webhook(settings: &Settings) -> anyhow::Result<Option<Webhook>> {
    let Some(url) = settings.get("REMEDIATION_WEBHOOK_URL") else {
        return Ok(None);
    };
    let path = settings.get("REMEDIATION_WEBHOOK_SECRET_FILE").context(
        "REMEDIATION_WEBHOOK_URL needs REMEDIATION_WEBHOOK_SECRET_FILE: a file with the secret \
         that requests are signed with",
    )?;
    let secret = std::fs::read_to_string(&path)
        .with_context(|| format!("REMEDIATION_WEBHOOK_SECRET_FILE {path} cannot be read"))?;
    let webhook = Webhook::new(&url, secret.trim());
    Ok(Some(
        webhook.map_err(|error| bad("WEBHOOK_URL", &url, &error))?,
    ))
}

fn bad(name: &str, url: &str, error: &anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("REMEDIATION_{name} (…{}): {error:#}", bare(url))
}

/// An address without what may be a password in it.
fn bare(url: &str) -> &str {
    let shown = url.split('?').next().unwrap_or_default();
    shown.rsplit('@').next().unwrap_or_default()
}
