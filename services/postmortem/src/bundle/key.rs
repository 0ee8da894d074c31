//! The key that bundles are signed with: a file that holds the 32 bytes of an
//! ed25519 key as 64 hexadecimal digits.

use ed25519_dalek::{SigningKey, VerifyingKey};
use std::io::{Read as _, Write as _};
use std::path::Path;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the key file {path}: {source}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{what} is no key: it needs 64 hexadecimal digits in lower case")]
    Digits { what: String },
    #[error("this is no point of the curve that ed25519 uses: {what}")]
    Point { what: String },
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Exactly `N` bytes from lower-case digits; each value has one spelling.
#[must_use]
pub fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

/// Makes a key and writes it into a new file that only its owner reads.
///
/// # Errors
/// The file is there already or cannot be written, or the system gives no
/// random bytes.
pub fn create(path: &Path) -> Result<VerifyingKey, KeyError> {
    let failed = |source| KeyError::File {
        path: path.display().to_string(),
        source,
    };
    let mut secret = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut secret))
        .map_err(failed)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    writeln!(file, "{}", hex(&secret)).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    Ok(SigningKey::from_bytes(&secret).verifying_key())
}

/// Reads a key.
///
/// # Errors
/// There is no such file, or no key in it.
pub fn read(path: &Path) -> Result<SigningKey, KeyError> {
    let what = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| KeyError::File {
        path: what.clone(),
        source,
    })?;
    let secret = unhex::<32>(text.trim()).ok_or(KeyError::Digits { what })?;
    Ok(SigningKey::from_bytes(&secret))
}

/// A public key from its digits.
///
/// # Errors
/// They are none.
pub fn public(digits: &str) -> Result<VerifyingKey, KeyError> {
    let what = "the public key".to_owned();
    let bytes = unhex::<32>(digits.trim()).ok_or(KeyError::Digits { what: what.clone() })?;
    VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Point { what })
}
