//! What Backstage knows of the fleet: `catalog-info.yaml`.
//!
//! Read are entities of the kinds `Component`, `API` and `Resource`, in any
//! number of documents; others are left alone. A component depends on what
//! `spec.dependsOn` names, and on the components that provide an API that it
//! consumes; where nobody provides it, on the API itself.

use midwatch_events::topology::{EdgeSource, Node, NodeKind, Topology};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files read of a folder: more than that is not one catalogue.
const FILES_LIMIT: usize = 2_000;
/// Bytes of a file: a catalogue file is written by hand.
const BYTES_LIMIT: u64 = 4 * 1024 * 1024;
/// Folders inside each other.
const DEPTH_LIMIT: u32 = 8;

#[derive(Debug, Deserialize)]
struct Entity {
    #[serde(default)]
    kind: String,
    metadata: Option<Metadata>,
    spec: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    owner: String,
    lifecycle: String,
    depends_on: Vec<String>,
    dependency_of: Vec<String>,
    provides_apis: Vec<String>,
    consumes_apis: Vec<String>,
}

/// One entity that counts.
#[derive(Debug)]
struct Known {
    kind: NodeKind,
    name: String,
    spec: Spec,
}

/// Reads the entities of one file's text; `source` names it in errors.
fn entities(source: &str, text: &str) -> Result<Vec<Known>, String> {
    let documents: Vec<Entity> = serde_saphyr::from_multiple(text)
        .map_err(|error| format!("{source} is not a catalogue of Backstage: {error}"))?;
    let mut known = Vec::new();
    for (index, entity) in documents.into_iter().enumerate() {
        let kind = match entity.kind.to_ascii_lowercase().as_str() {
            "component" => NodeKind::Service,
            "api" => NodeKind::Api,
            "resource" => NodeKind::Resource,
            "" => {
                return Err(format!(
                    "document {} of {source} has no `kind`; it must be Component, API, Resource or \
                     another kind of Backstage's",
                    index + 1
                ));
            }
            _ => continue,
        };
        let name = entity
            .metadata
            .map(|metadata| metadata.name)
            .unwrap_or_default();
        if name.is_empty() {
            return Err(format!(
                "document {} of {source}, a {}, has no `metadata.name`",
                index + 1,
                entity.kind
            ));
        }
        let spec = entity.spec.map_or(Ok(Spec::default()), |spec| {
            serde_json::from_value(spec)
                .map_err(|error| format!("`spec` of {name} in {source}: {error}"))
        })?;
        known.push(Known { kind, name, spec });
    }
    Ok(known)
}

/// An entity reference, `[kind:][namespace/]name`, as kind and name.
fn reference(text: &str) -> (Option<String>, &str) {
    let (kind, rest) = match text.split_once(':') {
        Some((kind, rest)) => (Some(kind.to_ascii_lowercase()), rest),
        None => (None, text),
    };
    (kind, rest.rsplit_once('/').map_or(rest, |(_, name)| name))
}

/// The graph that these texts, each with its name for errors, claim.
///
/// # Errors
/// Says in words which file is wrong, where and why.
pub fn parse(files: &[(String, String)]) -> Result<Topology, String> {
    let mut all = Vec::new();
    for (source, text) in files {
        all.extend(entities(source, text)?);
    }
    let mut providers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for one in &all {
        for api in &one.spec.provides_apis {
            providers
                .entry(reference(api).1)
                .or_default()
                .insert(&one.name);
        }
    }
    let services: BTreeSet<&str> = all
        .iter()
        .filter(|one| one.kind == NodeKind::Service)
        .map(|one| one.name.as_str())
        .collect();
    let mut graph = Topology::default();
    for one in &all {
        // An API named as the component that provides it is that component.
        if one.kind == NodeKind::Service || !services.contains(one.name.as_str()) {
            let node = Node {
                kind: one.kind,
                owner: one.spec.owner.clone(),
                lifecycle: one.spec.lifecycle.clone(),
            };
            graph.describe(&one.name, node);
        }
        let mut called: Vec<&str> = Vec::new();
        for target in &one.spec.depends_on {
            match reference(target) {
                (Some(kind), name) if kind == "api" => called.extend(provided(&providers, name)),
                (_, name) => called.push(name),
            }
        }
        for api in &one.spec.consumes_apis {
            called.extend(provided(&providers, reference(api).1));
        }
        for callee in called {
            graph.add_call(&one.name, callee, EdgeSource::Backstage);
        }
        for caller in &one.spec.dependency_of {
            graph.add_call(reference(caller).1, &one.name, EdgeSource::Backstage);
        }
    }
    Ok(graph)
}

/// Who provides an API; the API itself where nobody does.
fn provided<'a>(providers: &BTreeMap<&'a str, BTreeSet<&'a str>>, api: &'a str) -> Vec<&'a str> {
    match providers.get(api) {
        Some(names) => names.iter().copied().collect(),
        None => vec![api],
    }
}

/// Reads a file, or every `.yaml` and `.yml` file below a folder.
///
/// # Errors
/// Says what cannot be read, and how to mend it.
pub fn read(path: &str) -> Result<Topology, String> {
    let place = Path::new(path);
    let fault = |error: &dyn std::fmt::Display| {
        format!(
            "BACKSTAGE_CATALOG names {path}, which cannot be read: {error}; name a \
             catalog-info.yaml or a folder with such files, or leave it empty"
        )
    };
    let mut paths = Vec::new();
    let about = std::fs::metadata(place).map_err(|error| fault(&error))?;
    if about.is_dir() {
        collect(place, DEPTH_LIMIT, &mut paths).map_err(|error| fault(&error))?;
        paths.sort();
        if paths.is_empty() {
            return Err(fault(&"there is no .yaml or .yml file in it"));
        }
    } else {
        paths.push(place.to_owned());
    }
    let mut files = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        let size = std::fs::metadata(&path)
            .map_err(|error| fault(&error))?
            .len();
        if size > BYTES_LIMIT {
            return Err(fault(&format!(
                "{name} has {size} bytes, more than {BYTES_LIMIT}"
            )));
        }
        let text =
            std::fs::read_to_string(&path).map_err(|error| fault(&format!("{name}: {error}")))?;
        files.push((name, text));
    }
    parse(&files)
}

fn collect(folder: &Path, depth: u32, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if depth > 0 {
                collect(&path, depth - 1, paths)?;
            }
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml")) && paths.len() < FILES_LIMIT {
            paths.push(path);
        }
    }
    Ok(())
}
