//! Signatures of webhooks: of those that leave, and of those that come in.

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

/// Whether one of `codes` (hexadecimal digits) is the HMAC-SHA256 of `parts`,
/// one after another, under one of `secrets`. A code is compared in constant
/// time; what is no code fits nothing.
///
/// # Panics
/// Never: HMAC takes keys of any length.
#[must_use]
pub fn fits(secrets: &[&[u8]], parts: &[&[u8]], codes: &[&str]) -> bool {
    let given: Vec<[u8; 32]> = codes.iter().filter_map(|code| from_hex(code)).collect();
    secrets.iter().any(|secret| {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part);
        }
        given
            .iter()
            .any(|code| mac.clone().verify_slice(code).is_ok())
    })
}

/// Whether two secrets are the same; how long the answer takes tells nothing of
/// where they differ.
///
/// # Panics
/// Never: HMAC takes keys of any length.
#[must_use]
pub fn is_same(expected: &[u8], given: &[u8]) -> bool {
    // Codes of both are compared, so that lengths do not show either.
    let code = |text: &[u8]| {
        let key = b"one secret and another";
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(text);
        mac
    };
    let given = code(given).finalize().into_bytes();
    code(expected).verify_slice(&given).is_ok()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut code = [0; 32];
    for (byte, digits) in code.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2: the key is `Jefe`.
    const JEFE: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    const TEXT: &[u8] = b"what do ya want for nothing?";

    #[test]
    fn a_code_fits_under_any_secret_and_wherever_it_stands() {
        assert!(fits(&[b"Jefe"], &[TEXT], &[JEFE]));
        assert!(fits(
            &[b"other", b"Jefe"],
            &[b"what do ya want ", b"for nothing?"],
            &["", JEFE]
        ));
        assert!(!fits(&[b"jefe"], &[TEXT], &[JEFE]));
        assert!(!fits(&[b"Jefe"], &[b"what do ya want?"], &[JEFE]));
        for bad in [
            "",
            &JEFE[..62],
            &JEFE.replace('5', "g"),
            &format!("{JEFE}00"),
        ] {
            assert!(!fits(&[b"Jefe"], &[TEXT], &[bad]), "{bad}");
        }
        assert!(!fits(&[], &[TEXT], &[JEFE]) && !fits(&[b"Jefe"], &[TEXT], &[]));
    }

    #[test]
    fn only_the_same_secret_is_the_same() {
        assert!(is_same(b"a-secret", b"a-secret"));
        for other in [&b""[..], b"a-secre", b"a-secret ", b"A-secret"] {
            assert!(!is_same(b"a-secret", other));
        }
    }
}
