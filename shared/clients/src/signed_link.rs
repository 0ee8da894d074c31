//! One-time links, sent to one recipient: for a decision about one step of one
//! plan ([`Link`]), and to take an incident ([`TakeLink`]).
//!
//! A token is `payload.signature`, both base64url without padding: the payload
//! is a compact JSON array (version, incident, plan hash, step, recipient,
//! nonce, expiry; or `"take"`, version, incident, recipient, nonce, expiry), the
//! signature HMAC-SHA256 (RFC 2104) of the payload's encoded text. Neither kind
//! can be read as the other. That a link is used once is for its reader to
//! keep: the nonce names it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;
use std::path::Path;
use uuid::Uuid;

/// Bytes of a key at least: as many as the digest has.
const KEY: usize = 32;
/// Bytes of a key file at most.
const FILE: usize = 4096;
/// Bytes of a token at most; a recipient has at most 320.
const TOKEN: usize = 2048;
const VERSION: u8 = 1;

/// What a link is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub incident_id: Uuid,
    /// [`midwatch_events::action::plan_hash`] of the plan that was shown.
    pub plan_hash: String,
    pub step_id: String,
    /// The mail address of the one recipient.
    pub recipient: String,
    /// Different for each link: what is published because of a link has an id
    /// that is derived from it.
    pub nonce: String,
    /// Wall clock, epoch milliseconds.
    pub expires_ms: i64,
}

/// A link under which its recipient takes an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeLink {
    pub incident_id: Uuid,
    /// A mail address; the name of a channel where it was posted in one.
    pub recipient: String,
    /// As [`Link::nonce`].
    pub nonce: String,
    /// Wall clock, epoch milliseconds.
    pub expires_ms: i64,
}

/// Why a token is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It was cut, or is no token at all.
    #[error("this is no whole link: copy all of it")]
    Malformed,
    /// Somebody changed it, or it was signed with another key.
    #[error("the link's signature does not fit: it was changed, or signed elsewhere")]
    Forged,
    /// Its time is up; which incident it was about.
    #[error("the link has expired")]
    Expired(Uuid),
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{name} cannot be read: {error}")]
    Unreadable { name: String, error: std::io::Error },
    #[error(
        "{name} holds {size} bytes; a key has {KEY} to {FILE}, for example of `openssl rand -hex 32`"
    )]
    Size { name: String, size: usize },
}

/// A key for signing links. Shows nothing of itself.
#[derive(Clone)]
pub struct LinkKey(Vec<u8>);

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LinkKey")
    }
}

impl LinkKey {
    /// The key of these bytes; `None` where they are too few or too many.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<LinkKey> {
        (KEY..=FILE)
            .contains(&bytes.len())
            .then(|| LinkKey(bytes.to_vec()))
    }

    /// The key in a file: its bytes, without blanks and line ends around them.
    ///
    /// # Errors
    /// The file cannot be read, or holds too little or too much.
    pub fn read(file: &Path) -> Result<LinkKey, KeyError> {
        let name = file.display().to_string();
        match std::fs::read(file) {
            Ok(bytes) => {
                let bytes = bytes.trim_ascii();
                LinkKey::of(bytes).ok_or(KeyError::Size {
                    name,
                    size: bytes.len(),
                })
            }
            Err(error) => Err(KeyError::Unreadable { name, error }),
        }
    }

    fn mac(&self, payload: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any length");
        mac.update(payload.as_bytes());
        mac
    }
}

/// The first field of a token to take an incident.
const TAKE: &str = "take";

/// Signs what a link is good for.
fn seal(key: &LinkKey, fields: &impl Serialize) -> String {
    let json = serde_json::to_vec(fields).expect("texts and numbers are JSON");
    let payload = URL_SAFE_NO_PAD.encode(json);
    let signature = key.mac(&payload).finalize().into_bytes();
    format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What was signed. Signatures are compared in constant time, and nothing of
/// the payload is read before.
fn unseal<T: DeserializeOwned>(key: &LinkKey, token: &str) -> Result<T, LinkError> {
    if token.len() > TOKEN {
        return Err(LinkError::Malformed);
    }
    let (payload, signature) = token.split_once('.').ok_or(LinkError::Malformed)?;
    let decode = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text);
        bytes.map_err(|_| LinkError::Malformed)
    };
    let (json, signature) = (decode(payload)?, decode(signature)?);
    let fits = key.mac(payload).verify_slice(&signature);
    fits.map_err(|_| LinkError::Forged)?;
    serde_json::from_slice(&json).map_err(|_| LinkError::Malformed)
}

/// The token of a link.
#[must_use]
pub fn sign(key: &LinkKey, link: &Link) -> String {
    let fields = (
        VERSION,
        link.incident_id.simple(),
        &link.plan_hash,
        &link.step_id,
        &link.recipient,
        &link.nonce,
        link.expires_ms,
    );
    seal(key, &fields)
}

/// The token of a link to take an incident.
#[must_use]
pub fn sign_take(key: &LinkKey, link: &TakeLink) -> String {
    let fields = (
        TAKE,
        VERSION,
        link.incident_id.simple(),
        &link.recipient,
        &link.nonce,
        link.expires_ms,
    );
    seal(key, &fields)
}

/// The link of a token, where its signature fits and its time is not up at
/// `now_ms` (wall clock).
///
/// # Errors
/// Says what is wrong with the token.
pub fn open(key: &LinkKey, token: &str, now_ms: i64) -> Result<Link, LinkError> {
    let fields: (u8, Uuid, String, String, String, String, i64) = unseal(key, token)?;
    let (version, incident_id, plan_hash, step_id, recipient, nonce, expires_ms) = fields;
    if version != VERSION {
        return Err(LinkError::Malformed);
    }
    let link = Link {
        incident_id,
        plan_hash,
        step_id,
        recipient,
        nonce,
        expires_ms,
    };
    if now_ms > expires_ms {
        return Err(LinkError::Expired(incident_id));
    }
    Ok(link)
}

/// The same for a link to take an incident.
///
/// # Errors
/// As [`open`].
pub fn open_take(key: &LinkKey, token: &str, now_ms: i64) -> Result<TakeLink, LinkError> {
    let fields: (String, u8, Uuid, String, String, i64) = unseal(key, token)?;
    let (kind, version, incident_id, recipient, nonce, expires_ms) = fields;
    if kind != TAKE || version != VERSION {
        return Err(LinkError::Malformed);
    }
    if now_ms > expires_ms {
        return Err(LinkError::Expired(incident_id));
    }
    Ok(TakeLink {
        incident_id,
        recipient,
        nonce,
        expires_ms,
    })
}

/// Where a link to take an incident leads: `{dashboard}/acknowledge?t={token}`.
#[must_use]
pub fn take_url(dashboard: &str, key: &LinkKey, link: &TakeLink) -> String {
    let token = sign_take(key, link);
    format!("{}/acknowledge?t={token}", dashboard.trim_end_matches('/'))
}

/// Where a link leads: `{dashboard}/approve?t={token}`. `dashboard` is the
/// public address of the pages, as in `DASHBOARD_URL`.
#[must_use]
pub fn url(dashboard: &str, key: &LinkKey, link: &Link) -> String {
    let token = sign(key, link);
    format!("{}/approve?t={token}", dashboard.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> LinkKey {
        LinkKey::of(b"0123456789abcdef0123456789abcdef").expect("32 bytes")
    }

    fn link() -> Link {
        Link {
            incident_id: Uuid::from_u128(0xa1b2_c3d4),
            plan_hash: "ab".repeat(32),
            step_id: "S1".to_owned(),
            recipient: "ana@example.com".to_owned(),
            nonce: "n-1".to_owned(),
            expires_ms: 2_000,
        }
    }

    #[test]
    fn the_signature_is_what_another_program_computes() {
        // printf %s '[1,"000000000000000000000000a1b2c3d4","p","S1","a@b","n",2000]' | basenc --base64url
        // and of its text without `=`: openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef -binary
        let small = Link {
            plan_hash: "p".to_owned(),
            recipient: "a@b".to_owned(),
            nonce: "n".to_owned(),
            ..link()
        };
        assert_eq!(
            sign(&key(), &small),
            "WzEsIjAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMGExYjJjM2Q0IiwicCIsIlMxIiwiYUBiIiwibiIsMjAwMF0.81zXmJBwp9-NonI-WdvDlcIcWKRI35y3FDcj14h5YJk"
        );
    }

    #[test]
    fn a_link_opens_until_its_time_is_up() {
        let token = sign(&key(), &link());
        assert_eq!(open(&key(), &token, 2_000), Ok(link()));
        let late = open(&key(), &token, 2_001);
        assert_eq!(late, Err(LinkError::Expired(link().incident_id)));
        let address = url("https://midwatch.example/", &key(), &link());
        assert_eq!(
            address,
            format!("https://midwatch.example/approve?t={token}")
        );
        let harmless = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        assert!(token.chars().all(harmless), "{token}");
    }

    #[test]
    fn a_link_to_take_an_incident_is_no_approval_and_the_other_way_round() {
        let take = TakeLink {
            incident_id: Uuid::from_u128(0xa1b2_c3d4),
            recipient: "a@b".to_owned(),
            nonce: "n".to_owned(),
            expires_ms: 2_000,
        };
        // printf %s '["take",1,"000000000000000000000000a1b2c3d4","a@b","n",2000]' | basenc --base64url
        // and of its text without `=`: openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef -binary
        let token = sign_take(&key(), &take);
        assert_eq!(
            token,
            "WyJ0YWtlIiwxLCIwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDBhMWIyYzNkNCIsImFAYiIsIm4iLDIwMDBd.-SPgJbvBxMinUY0poDNLJWo-PcxyvN4jWfmug_50_28"
        );
        assert_eq!(open_take(&key(), &token, 2_000), Ok(take.clone()));
        let late = open_take(&key(), &token, 2_001);
        assert_eq!(late, Err(LinkError::Expired(take.incident_id)));
        assert_eq!(open(&key(), &token, 0), Err(LinkError::Malformed));
        let approval = sign(&key(), &link());
        assert_eq!(open_take(&key(), &approval, 0), Err(LinkError::Malformed));
        let foreign = LinkKey::of(b"another-key-of-thirty-two-bytes!").expect("32 bytes");
        assert_eq!(open_take(&foreign, &token, 0), Err(LinkError::Forged));
        let mut forged = token.clone().into_bytes();
        forged[9] = if forged[9] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).expect("text");
        assert_eq!(open_take(&key(), &forged, 0), Err(LinkError::Forged));
        let address = take_url("https://midwatch.example/", &key(), &take);
        assert_eq!(
            address,
            format!("https://midwatch.example/acknowledge?t={token}")
        );
    }

    #[test]
    fn no_changed_character_and_no_other_key_opens_it() {
        let token = sign(&key(), &link());
        for place in 0..token.len() {
            for other in ["A", "z", ".", "="] {
                if &token[place..=place] == other {
                    continue;
                }
                let mut changed = token.clone();
                changed.replace_range(place..=place, other);
                let opened = open(&key(), &changed, 0);
                assert!(
                    matches!(opened, Err(LinkError::Forged | LinkError::Malformed)),
                    "{place} {other}: {opened:?}"
                );
            }
            assert!(open(&key(), &token[..place], 0).is_err());
        }
        let foreign = LinkKey::of(b"another-key-of-thirty-two-bytes!").expect("32 bytes");
        assert_eq!(open(&foreign, &token, 0), Err(LinkError::Forged));
        assert_eq!(open(&key(), "", 0), Err(LinkError::Malformed));
        assert_eq!(
            open(&key(), &"a".repeat(5_000), 0),
            Err(LinkError::Malformed)
        );
    }

    #[test]
    fn a_short_key_is_refused_and_none_is_shown() {
        assert!(LinkKey::of(b"short").is_none());
        assert_eq!(format!("{:?}", key()), "LinkKey");
        let file = std::env::temp_dir().join(format!("link-key-{}", std::process::id()));
        std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").expect("written");
        let read = LinkKey::read(&file).expect("a key");
        assert_eq!(sign(&read, &link()), sign(&key(), &link()));
        std::fs::write(&file, "short").expect("written");
        let error = LinkKey::read(&file).expect_err("too short").to_string();
        assert!(error.contains("5 bytes"), "{error}");
        std::fs::remove_file(&file).expect("it is there");
        assert!(LinkKey::read(&file).is_err());
    }
}
