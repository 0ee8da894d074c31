//! The variables that services are started with.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::servers::{Endpoint, Server};

/// Addresses of the servers, as every service reads them.
///
/// # Errors
/// When a server is missing from `endpoints`.
pub(crate) fn of_services(
    endpoints: &BTreeMap<Server, Endpoint>,
    dashboard: u16,
) -> Result<BTreeMap<String, String>> {
    let url = |server: Server| -> Result<String> {
        let endpoint = endpoints.get(&server);
        let endpoint = endpoint.with_context(|| format!("no {} was started", server.name()))?;
        Ok(endpoint.url.clone())
    };
    let broker = url(Server::Kafka).or_else(|_| url(Server::Tansu))?;
    let variables = [
        ("KAFKA_BOOTSTRAP_SERVERS", broker),
        ("DATABASE_URL", url(Server::Postgres)?),
        ("REDIS_URL", url(Server::Redis)?),
        ("QDRANT_URL", url(Server::Vectors)?),
        ("EMBEDDINGS_URL", url(Server::Embedder)?),
        ("SMTP_URL", url(Server::Mail)?),
        ("DASHBOARD_URL", format!("http://127.0.0.1:{dashboard}")),
        ("MIDWATCH_SLOT", "0".to_owned()),
    ];
    Ok(variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

/// The user's `.env`, without what the environment sets already.
///
/// # Errors
/// When the file cannot be read or a line is no assignment; the message names
/// the line.
pub(crate) fn dot_env(root: &Path) -> Result<BTreeMap<String, String>> {
    let path = root.join(".env");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut variables = parse_dot_env(&text)?;
    variables.retain(|name, _| !is_set(name));
    Ok(variables)
}

/// Whether the environment itself sets the variable.
pub(crate) fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

fn parse_dot_env(text: &str) -> Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line
            .split_once('=')
            .with_context(|| format!("line {} of .env is no NAME=value", index + 1))?;
        let value = value.trim();
        let bare = ['"', '\''].iter().find_map(|&quote| {
            value
                .strip_prefix(quote)
                .and_then(|rest| rest.strip_suffix(quote))
        });
        let value = bare.unwrap_or(value);
        // An empty value is the template's way of saying "not set".
        if !value.is_empty() {
            variables.insert(name.trim().to_owned(), value.to_owned());
        }
    }
    Ok(variables)
}

/// A seed for a run whose user gave none. It is printed, so that the run can
/// be repeated; hence short.
///
/// # Errors
/// When the system has no random numbers.
pub(crate) fn random_seed() -> Result<u64> {
    let mut bytes = [0; 2];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(u64::from(u16::from_ne_bytes(bytes)))
}

/// The file that lets the operators of a demo in, in `folder`, and their
/// tokens: two, because some actions take two people. Nobody else may read the
/// file.
///
/// # Errors
/// When there is no randomness, or the file cannot be written.
pub(crate) fn operators(folder: &Path) -> Result<(PathBuf, [String; 2])> {
    let tokens = [token()?, token()?];
    let [first, second] = &tokens;
    let path = folder.join("operators");
    write_private(&path, &format!("demo {first}\nsecond {second}\n"))?;
    Ok((path, tokens))
}

/// The key that a demo's one-time links are signed with, in `folder`. It ends
/// with the run, and so do the links.
///
/// # Errors
/// When there is no randomness, or the file cannot be written.
pub(crate) fn link_key(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("link-key");
    write_private(&path, &format!("{}\n", random_hex::<32>()?))?;
    Ok(path)
}

fn token() -> Result<String> {
    random_hex::<12>()
}

fn random_hex<const BYTES: usize>() -> Result<String> {
    let mut bytes = [0_u8; BYTES];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What remediation may do in a demo: act for real on the simulated fleet and
/// nowhere else, and take back what did not help.
const POLICY: &str = r#"{
  "mode": "dry-run",
  "environments": {"simulation": "live"},
  "undo": {"on_worse": true, "on_not_improved": true}
}
"#;

/// The file of [`POLICY`], in `folder`.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn policy(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("policy.json");
    write_private(&path, POLICY)?;
    Ok(path)
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_env_takes_quotes_comments_and_exports() {
        let text = "# keys\nexport A=1\nB = \"two words\"\nC=\n\nD='x=y'\n";
        let found = parse_dot_env(text).unwrap();
        let expected = [("A", "1"), ("B", "two words"), ("D", "x=y")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn two_operators_have_tokens_of_their_own_and_the_policy_is_live_for_the_simulation_only() {
        let folder = tempfile::tempdir().unwrap();
        let (path, [first, second]) = operators(folder.path()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("demo {first}\nsecond {second}\n"));
        assert!(first.len() >= 16 && first != second);
        let key = fs::read_to_string(link_key(folder.path()).unwrap()).unwrap();
        assert_eq!(key.trim().len(), 64);
        let text = fs::read_to_string(policy(folder.path()).unwrap()).unwrap();
        let policy: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(policy["mode"], "dry-run");
        assert_eq!(
            policy["environments"],
            serde_json::json!({"simulation": "live"})
        );
    }

    #[test]
    fn line_without_assignment_is_named() {
        let error = parse_dot_env("A=1\nnonsense\n").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
