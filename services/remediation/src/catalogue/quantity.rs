//! Amounts of processor and memory as Kubernetes writes them: a decimal number
//! with a suffix, or with an exponent (`resource.Quantity` of its API).

use std::cmp::Ordering;

/// Most digits of a number; with the largest suffix it still fits 128 bits.
const DIGITS: usize = 15;

/// Suffix, by what it multiplies, by what it divides.
const SUFFIXES: [(&str, u128, u128); 16] = [
    ("", 1, 1),
    ("n", 1, 1_000_000_000),
    ("u", 1, 1_000_000),
    ("m", 1, 1_000),
    ("k", 1_000, 1),
    ("M", 1_000_000, 1),
    ("G", 1_000_000_000, 1),
    ("T", 1_000_000_000_000, 1),
    ("P", 1_000_000_000_000_000, 1),
    ("E", 1_000_000_000_000_000_000, 1),
    ("Ki", 1 << 10, 1),
    ("Mi", 1 << 20, 1),
    ("Gi", 1 << 30, 1),
    ("Ti", 1 << 40, 1),
    ("Pi", 1 << 50, 1),
    ("Ei", 1 << 60, 1),
];

/// An amount, exactly, with the spelling of its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// Its digits without the point.
    mantissa: u128,
    /// How many of them stand behind the point.
    behind: u32,
    /// Suffix or exponent, as written.
    unit: String,
    times: u128,
    divided: u128,
}

impl Quantity {
    /// Reads an amount: `2`, `0.5`, `500m`, `512M`, `1.5Gi`, `1e3`. Signs are
    /// none of an amount's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Quantity> {
        let end = text
            .find(|one: char| !one.is_ascii_digit() && one != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{part}");
        let is_number = !digits.is_empty()
            && digits.len() <= DIGITS
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            return None;
        }
        let (times, divided) = factor(unit)?;
        let quantity = Quantity {
            mantissa: digits.parse().ok()?,
            behind: u32::try_from(part.len()).ok()?,
            unit: unit.to_owned(),
            times,
            divided,
        };
        // Whatever cannot be compared is no amount of any machine.
        quantity.fraction()?;
        Some(quantity)
    }

    /// Numerator and denominator.
    fn fraction(&self) -> Option<(u128, u128)> {
        let above = self.mantissa.checked_mul(self.times)?;
        let below = 10_u128
            .checked_pow(self.behind)?
            .checked_mul(self.divided)?;
        Some((above, below))
    }

    /// Whether it is more than nothing.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.mantissa > 0
    }

    /// Which of two amounts is larger, whatever their units; absent where the
    /// two are too far apart to be compared exactly.
    #[must_use]
    pub fn compare(&self, other: &Quantity) -> Option<Ordering> {
        let ((a, b), (c, d)) = (self.fraction()?, other.fraction()?);
        let (common_above, common_below) = (gcd(a, c), gcd(b, d));
        let (a, c) = (a / common_above, c / common_above);
        let (b, d) = (b / common_below, d / common_below);
        Some(a.checked_mul(d)?.cmp(&c.checked_mul(b)?))
    }

    /// The amount times `percent` of a hundred, in the same unit.
    #[must_use]
    pub fn grown(&self, percent: u64) -> Option<Quantity> {
        let mut grown = Quantity {
            mantissa: self.mantissa.checked_mul(u128::from(percent))?,
            behind: self.behind.checked_add(2)?,
            ..self.clone()
        };
        while grown.behind > 0 && grown.mantissa.is_multiple_of(10) {
            grown.mantissa /= 10;
            grown.behind -= 1;
        }
        grown.fraction()?;
        Some(grown)
    }
}

/// Whether two texts are the same amount: `1Gi` and `1024Mi`.
#[must_use]
pub fn is_same(one: &str, other: &str) -> bool {
    let pair = Quantity::parse(one).zip(Quantity::parse(other));
    pair.and_then(|(one, other)| one.compare(&other)) == Some(Ordering::Equal)
}

fn factor(unit: &str) -> Option<(u128, u128)> {
    let known = SUFFIXES.iter().find(|(name, ..)| *name == unit);
    if let Some((_, times, divided)) = known {
        return Some((*times, *divided));
    }
    let exponent: i32 = unit.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
    match exponent {
        -18..=-1 => Some((1, power)),
        0..=18 => Some((power, 1)),
        _ => None,
    }
}

fn gcd(one: u128, other: u128) -> u128 {
    let (mut one, mut other) = (one.max(1), other.max(1));
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let behind = self.behind as usize;
        let digits = format!("{:0>width$}", self.mantissa, width = behind + 1);
        let (whole, part) = digits.split_at(digits.len() - behind);
        let point = if part.is_empty() { "" } else { "." };
        write!(formatter, "{whole}{point}{part}{}", self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(one: &str, other: &str) -> Option<Ordering> {
        Quantity::parse(one)?.compare(&Quantity::parse(other)?)
    }

    #[test]
    fn amounts_are_compared_whatever_their_units() {
        // The multiples are those of the API's documentation of quantities.
        for (one, other, order) in [
            ("500m", "0.5", Ordering::Equal),
            ("1000m", "1", Ordering::Equal),
            ("1", "1000000000n", Ordering::Equal),
            ("1", "1000000u", Ordering::Equal),
            ("250m", "0.3", Ordering::Less),
            ("512M", "512Mi", Ordering::Less),
            ("512M", "512000000", Ordering::Equal),
            ("512Mi", "536870912", Ordering::Equal),
            ("1Gi", "1024Mi", Ordering::Equal),
            ("1Mi", "1024Ki", Ordering::Equal),
            ("1.5Gi", "1536Mi", Ordering::Equal),
            ("1Ti", "1024Gi", Ordering::Equal),
            ("1Pi", "1024Ti", Ordering::Equal),
            ("1Ei", "1024Pi", Ordering::Equal),
            ("1G", "1000M", Ordering::Equal),
            ("1T", "1e12", Ordering::Equal),
            ("1k", "1E3", Ordering::Equal),
            ("1E", "1000P", Ordering::Equal),
            ("128974848", "129e6", Ordering::Less),
            ("128974848000m", "123Mi", Ordering::Equal),
            ("5e-1", "500m", Ordering::Equal),
            ("2Gi", "2G", Ordering::Greater),
        ] {
            assert_eq!(compare(one, other), Some(order), "{one} {other}");
            assert_eq!(compare(other, one), Some(order.reverse()), "{other} {one}");
            assert_eq!(is_same(one, other), order == Ordering::Equal);
        }
    }

    #[test]
    fn what_is_no_amount_is_not_read() {
        for text in [
            "",
            ".",
            "m",
            "Gi",
            "1gi",
            "1KI",
            "1mi",
            "-1",
            "+1",
            "1 Gi",
            "1..5",
            "1.5.5",
            "1e",
            "1e99",
            "1Gie3",
            "0x10",
            "٥",
            "1234567890123456",
            "1K",
        ] {
            assert_eq!(Quantity::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_amount_grows_in_its_own_unit() {
        for (text, percent, grown) in [
            ("500m", 200, "1000m"),
            ("512M", 200, "1024M"),
            ("1.5Gi", 200, "3Gi"),
            ("0.25", 200, "0.5"),
            ("1e3", 150, "1.5e3"),
            ("3", 150, "4.5"),
            ("100Ki", 105, "105Ki"),
        ] {
            let found = Quantity::parse(text).and_then(|one| one.grown(percent));
            let found = found.map(|one| one.to_string());
            assert_eq!(found.as_deref(), Some(grown), "{text}");
        }
    }
}
