//! What arguments look like. Every form is plain ASCII of a short list of
//! characters: what a shell, a path or a look-alike letter could make of a
//! value does not pass any of them.

use super::quantity::Quantity;
use std::fmt;

/// The form of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A Kubernetes name: lower-case letters, digits, `-` and `.`.
    Name,
    /// A version or revision: letters, digits, `.`, `_` and `-`.
    Version,
    /// A whole number.
    Count {
        min: u64,
        max: u64,
    },
    /// An amount of processor or memory: `500m`, `2`, `1.5Gi`, `512M`.
    Amount,
    /// An environment variable: `DB_POOL_MAX`.
    Variable,
    /// A setting's value: a word or a number.
    Word,
    /// An absolute path of at least two parts without `.` and `..`.
    Path,
    /// A systemd unit: `nginx.service`.
    Unit,
    OneOf(&'static [&'static str]),
}

/// What no argument may hold anywhere: whatever is not a letter, a digit or one
/// of `. _ - / @ :` in ASCII.
#[must_use]
pub fn is_plain(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= 253
        && !value.starts_with('-')
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-/@:".contains(&byte))
}

impl Form {
    /// Whether the value has the form.
    #[must_use]
    pub fn fits(self, value: &str) -> bool {
        let bytes = value.as_bytes();
        let ends = |test: fn(&u8) -> bool| {
            bytes.first().is_some_and(test) && bytes.last().is_some_and(test)
        };
        let all = |more: &[u8], test: fn(&u8) -> bool| {
            bytes.iter().all(|byte| test(byte) || more.contains(byte))
        };
        let small = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        is_plain(value)
            && match self {
                Form::Name => all(b"-.", small) && ends(small) && !value.contains(".."),
                Form::Version => {
                    all(b"._-", u8::is_ascii_alphanumeric)
                        && ends(u8::is_ascii_alphanumeric)
                        && !value.contains("..")
                }
                Form::Count { min, max } => {
                    Number::parse(value).is_some_and(|number| (min..=max).contains(&number.value))
                }
                Form::Amount => Quantity::parse(value).is_some_and(|one| one.is_positive()),
                Form::Variable => {
                    bytes[0].is_ascii_uppercase()
                        && all(b"_", |byte| {
                            byte.is_ascii_uppercase() || byte.is_ascii_digit()
                        })
                }
                Form::Word => all(b"._-", u8::is_ascii_alphanumeric),
                Form::Path => is_path(value),
                Form::Unit => {
                    all(b"._-@", u8::is_ascii_alphanumeric)
                        && value
                            .strip_suffix(".service")
                            .is_some_and(|name| !name.is_empty() && !name.contains(".."))
                }
                Form::OneOf(options) => options.contains(&value),
            }
    }
}

fn is_path(value: &str) -> bool {
    let Some(rest) = value.strip_prefix('/') else {
        return false;
    };
    let parts: Vec<&str> = rest.split('/').collect();
    let plain = |part: &&str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    // One part alone (`/var`) is never what should be cleared.
    parts.len() >= 2 && parts.iter().all(plain)
}

/// A whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    pub value: u64,
}

impl Number {
    /// Reads a number in its one spelling: no sign, no leading zero, at most
    /// nine digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Number> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let value: u64 = text[..digits].parse().ok()?;
        let number = Number { value };
        (digits <= 9 && number.to_string() == text).then_some(number)
    }

    /// The number times `percent` of a hundred, rounded up.
    #[must_use]
    pub fn grown(self, percent: u64) -> Option<Number> {
        let value = self.value.checked_mul(percent)?.div_ceil(100);
        Some(Number { value })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_take_what_they_are_for_and_nothing_else() {
        let count = Form::Count { min: 1, max: 50 };
        let cases: [(Form, &[&str], &[&str]); 8] = [
            (
                Form::Name,
                &["payment-service", "a.b", "7"],
                &[
                    "",
                    "-a",
                    "a-",
                    "A",
                    "a..b",
                    "a_b",
                    "a/b",
                    "раyment",
                    "a\u{200b}b",
                    "a b",
                    "a;b",
                ],
            ),
            (
                Form::Version,
                &["3.8.0", "v1_2-rc"],
                &["../x", "1..2", "1/2", ".1", "1.", "$(id)"],
            ),
            (
                count,
                &["1", "50"],
                &["0", "51", "+5", "05", "5.0", "٥", "1e1", "0x5", "5m"],
            ),
            (
                Form::Amount,
                &["500m", "2", "1Gi", "512M", "1.5Gi", "1Ti", "1e3"],
                &["0", "0m", "1gi", "-1", "1e+3", "1 Gi"],
            ),
            (
                Form::Variable,
                &["DB_POOL_MAX"],
                &["_A", "a", "A-B", "1A", "PATH="],
            ),
            (
                Form::Path,
                &["/var/log/app"],
                &[
                    "/",
                    "/var",
                    "var/log",
                    "/var/../etc",
                    "/var//log",
                    "/var/./x",
                    "/var/log/",
                    "/var/.ssh",
                    "/var/log/*",
                ],
            ),
            (
                Form::Unit,
                &["nginx.service", "getty@tty1.service"],
                &[
                    "nginx",
                    ".service",
                    "a b.service",
                    "../x.service",
                    "a/b.service",
                ],
            ),
            (
                Form::OneOf(&["true", "false"]),
                &["true"],
                &["TRUE", "yes", ""],
            ),
        ];
        for (form, good, bad) in cases {
            for value in good {
                assert!(form.fits(value), "{form:?} {value:?}");
            }
            for value in bad {
                assert!(!form.fits(value), "{form:?} {value:?}");
            }
        }
    }

    #[test]
    fn numbers_grow_to_whole_ones() {
        let grown = |text, percent| Number::parse(text).and_then(|one| one.grown(percent));
        assert_eq!(
            grown("3", 200).map(|one| one.to_string()).as_deref(),
            Some("6")
        );
        assert_eq!(
            grown("7", 150).map(|one| one.to_string()).as_deref(),
            Some("11")
        );
    }
}
