//! Whether a bundle is what was signed. Needs nothing but the file and the
//! public key.

use super::{LONGEST_LINE, SIGNATURE, chained, key, signed};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;
use std::io::{self, BufRead, Read as _};

/// What a bundle that holds says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub short_id: String,
    pub incident_id: String,
    pub created_at_ms: i64,
    /// Without the count at the end.
    pub entries: u64,
}

/// What does not hold first.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("reading it: {0}")]
    Read(#[from] io::Error),
    /// `entry` counts from 1, which is the header.
    #[error("entry {entry} ({kind}) does not hold: {why}")]
    Entry {
        entry: u64,
        /// What the entry says it is; `unknown` where that cannot be read.
        kind: String,
        why: String,
    },
    #[error("the signature does not hold: {0}")]
    Signature(String),
}

/// Checks every byte, in constant memory.
///
/// # Errors
/// [`Broken`], with the first entry that does not hold.
pub fn verify(mut file: impl BufRead, key: &VerifyingKey) -> Result<Verified, Broken> {
    let mut hash = [0; 32];
    let mut verified = None;
    let mut count = None;
    let mut line = Vec::new();
    for entry in 1.. {
        read_line(&mut file, &mut line, entry)?;
        if line.starts_with(SIGNATURE.as_bytes()) {
            let verified: Verified =
                verified.ok_or_else(|| broken(entry, b"", "the header is missing"))?;
            if count != Some(entry - 2) {
                return Err(broken(
                    entry,
                    b"",
                    "the count of entries is missing or wrong",
                ));
            }
            check_signature(&line, &hash, key)?;
            let mut more = [0];
            if file.read(&mut more)? > 0 {
                return Err(Broken::Signature("something follows it".to_owned()));
            }
            return Ok(Verified {
                entries: entry - 2,
                ..verified
            });
        }
        let text = opened(&line, &mut hash, entry)?;
        if count.is_some() {
            return Err(broken(entry, text, "it comes after the count of entries"));
        }
        let document: Value = serde_json::from_slice(text)
            .map_err(|error| broken(entry, text, &format!("it is no JSON: {error}")))?;
        match (entry, document["kind"].as_str()) {
            (1, Some("bundle")) => verified = Some(header(&document["entry"], text, key)?),
            (1, _) => return Err(broken(entry, text, "it is no header of a bundle")),
            (_, Some("end")) => count = document["entry"]["entries"].as_u64(),
            (_, Some(_)) => {}
            (_, None) => return Err(broken(entry, text, "it says not what it is")),
        }
    }
    unreachable!("a file ends before the entries can no longer be counted")
}

/// A line without its break, which must be there.
fn read_line(file: &mut impl BufRead, line: &mut Vec<u8>, entry: u64) -> Result<(), Broken> {
    line.clear();
    file.take(LONGEST_LINE as u64).read_until(b'\n', line)?;
    if line.pop() == Some(b'\n') {
        return Ok(());
    }
    Err(broken(
        entry,
        b"",
        "the file ends before it does, or it is too long",
    ))
}

/// The document of a line whose hash is the next one of the chain.
fn opened<'a>(line: &'a [u8], hash: &mut [u8; 32], entry: u64) -> Result<&'a [u8], Broken> {
    let (Some(digits), Some(b' '), Some(text)) = (line.get(..64), line.get(64), line.get(65..))
    else {
        return Err(broken(entry, b"", "it begins with no hash"));
    };
    *hash = chained(hash, text);
    if digits != key::hex(hash).as_bytes() {
        return Err(broken(
            entry,
            text,
            "its hash is not that of its bytes and the entry before",
        ));
    }
    Ok(text)
}

fn header(document: &Value, text: &[u8], key: &VerifyingKey) -> Result<Verified, Broken> {
    if document["version"] != 1 {
        return Err(broken(
            1,
            text,
            "it is of a version that this program does not know",
        ));
    }
    if document["public_key"] != key::hex(key.as_bytes()) {
        return Err(broken(
            1,
            text,
            "it was signed with another key than the one given",
        ));
    }
    let word = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
    Ok(Verified {
        short_id: word("short_id"),
        incident_id: word("incident_id"),
        created_at_ms: document["created_at_ms"].as_i64().unwrap_or_default(),
        entries: 0,
    })
}

fn check_signature(line: &[u8], head: &[u8; 32], key: &VerifyingKey) -> Result<(), Broken> {
    let digits = std::str::from_utf8(&line[SIGNATURE.len()..]).unwrap_or_default();
    let bytes = key::unhex::<64>(digits)
        .ok_or_else(|| Broken::Signature("it is not 128 digits in lower case".to_owned()))?;
    // Strict: of one signature there is one spelling.
    key.verify_strict(&signed(head), &Signature::from_bytes(&bytes))
        .map_err(|_| Broken::Signature("it is not that of this key over these entries".to_owned()))
}

fn broken(entry: u64, text: &[u8], why: &str) -> Broken {
    let kind = serde_json::from_slice::<Value>(text)
        .ok()
        .and_then(|document| document["kind"].as_str().map(crate::text::line))
        .unwrap_or_else(|| "unknown".to_owned());
    Broken::Entry {
        entry,
        kind,
        why: why.to_owned(),
    }
}
