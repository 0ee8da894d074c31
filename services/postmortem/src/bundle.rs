//! An incident as one file that proves itself.
//!
//! A bundle is lines. Each line but the last is 64 hexadecimal digits, a blank
//! and a JSON document without line breaks. The digits are the SHA-256 of the
//! line before's 32 bytes (zeros for the first line) and the bytes of the
//! document with its line break. The first document is the header with the
//! public key, the last one counts the entries. The last line is `signature`
//! and 128 digits: ed25519 over the last hash under a prefix of its own. Digits
//! are lower case, and nothing follows the last line break: there is one file
//! for one content, and every byte of it counts.

mod export;
pub mod key;
mod verify;

pub use export::{Exported, export};
pub use verify::{Broken, Verified, verify};

use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};
use uuid::Uuid;

/// What is signed begins with this, so that the signature means nothing else.
const SIGNED: &[u8] = b"midwatch bundle 1 head ";
/// The last line begins with this.
const SIGNATURE: &str = "signature ";
/// Longest line, bytes: the largest row is a message of one megabyte, quoted
/// once more.
pub const LONGEST_LINE: usize = 16 * 1024 * 1024;

/// Writes a bundle, entry by entry, in constant memory.
pub struct Bundle<W> {
    out: W,
    hash: [u8; 32],
    entries: u64,
    key: SigningKey,
}

impl<W: Write> Bundle<W> {
    /// Begins with the header.
    ///
    /// # Errors
    /// `out` does not take it.
    pub fn begin(
        out: W,
        key: SigningKey,
        incident: Uuid,
        short_id: &str,
        created_at_ms: i64,
    ) -> io::Result<Bundle<W>> {
        let public = key::hex(key.verifying_key().as_bytes());
        let mut bundle = Bundle {
            out,
            hash: [0; 32],
            entries: 0,
            key,
        };
        bundle.entry(
            "bundle",
            &json!({"version": 1, "incident_id": incident, "short_id": short_id,
                "created_at_ms": created_at_ms, "public_key": public}),
        )?;
        Ok(bundle)
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// `out` does not take it, or it is longer than [`LONGEST_LINE`].
    pub fn entry(&mut self, kind: &str, document: &Value) -> io::Result<()> {
        let text = json!({"kind": kind, "entry": document}).to_string();
        if text.len() + 66 > LONGEST_LINE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "an entry of kind {kind} has {} bytes, too many for a line",
                    text.len()
                ),
            ));
        }
        self.hash = chained(&self.hash, text.as_bytes());
        self.entries += 1;
        writeln!(self.out, "{} {text}", key::hex(&self.hash))
    }

    /// Counts, signs and flushes; gives the number of entries.
    ///
    /// # Errors
    /// `out` does not take it.
    pub fn end(mut self) -> io::Result<(u64, W)> {
        let entries = self.entries;
        self.entry("end", &json!({ "entries": entries }))?;
        let signature = self.key.sign(&signed(&self.hash)).to_bytes();
        writeln!(self.out, "{SIGNATURE}{}", key::hex(&signature))?;
        self.out.flush()?;
        Ok((entries, self.out))
    }
}

/// The hash of a line, from that of the line before.
fn chained(before: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(text);
    hash.update(b"\n");
    hash.finalize().into()
}

fn signed(head: &[u8; 32]) -> Vec<u8> {
    [SIGNED, head].concat()
}
