//! The signature of a request that leaves over a webhook.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// HMAC-SHA256 of `stamp.body`, in hexadecimal digits. The time stands in it,
/// so that a receiver can refuse what is old.
///
/// # Panics
/// Never: HMAC takes keys of any length.
#[must_use]
pub fn of(secret: &str, stamp: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(stamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    let code = mac.finalize().into_bytes();
    code.iter().map(|byte| format!("{byte:02x}")).collect()
}
