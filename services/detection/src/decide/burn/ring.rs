//! Sums over the last stretches of time.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt::Write as _;

/// What was seen in one stretch of time. Single precision: a day of readings
/// each second adds up to five digits exactly, which is more than is told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cell {
    seconds: f32,
    requests: f32,
    errors: f32,
}

/// The last `N` stretches of one length.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ring<const N: usize> {
    /// Number of the newest stretch since 1970.
    newest: i64,
    cells: [Cell; N],
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Ring {
            newest: 0,
            cells: [Cell::default(); N],
        }
    }
}

fn place<const N: usize>(number: i64) -> usize {
    usize::try_from(number.rem_euclid(N as i64)).expect("a remainder is not negative")
}

impl<const N: usize> Ring<N> {
    /// Spreads what was seen from `from_ms` to `to_ms` over its stretches.
    pub fn add(&mut self, width_ms: i64, (from_ms, to_ms): (i64, i64), rate: f64, failed: f64) {
        // The end belongs to the stretch before it.
        let last = (to_ms - 1).div_euclid(width_ms);
        let skipped = (last - self.newest).min(N as i64);
        for number in last - skipped + 1..=last {
            self.cells[place::<N>(number)] = Cell::default();
        }
        self.newest = self.newest.max(last);
        let first = from_ms.div_euclid(width_ms).max(self.newest - N as i64 + 1);
        for number in first..=last {
            let begin_ms = from_ms.max(number * width_ms);
            let end_ms = to_ms.min((number + 1) * width_ms);
            let seconds = (end_ms - begin_ms) as f64 / 1000.0;
            let cell = &mut self.cells[place::<N>(number)];
            cell.seconds += seconds as f32;
            cell.requests += (seconds * rate) as f32;
            cell.errors += (seconds * rate * failed) as f32;
        }
    }

    /// The newest `count` stretches together: seconds, requests, errors.
    pub fn sum(&self, count: usize) -> (f64, f64, f64) {
        let mut sum = (0.0, 0.0, 0.0);
        for back in 0..count.min(N) {
            let cell = self.cells[place::<N>(self.newest - back as i64)];
            sum.0 += f64::from(cell.seconds);
            sum.1 += f64::from(cell.requests);
            sum.2 += f64::from(cell.errors);
        }
        sum
    }

    /// Weighs all requests anew.
    pub fn scale(&mut self, factor: f32) {
        for cell in &mut self.cells {
            cell.requests *= factor;
            cell.errors *= factor;
        }
    }
}

/// As text, which Rust writes and reads exactly: the newest stretch's number,
/// then each stretch that holds something as `place:seconds:requests:errors`.
impl<const N: usize> Serialize for Ring<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = self.newest.to_string();
        for (place, cell) in self.cells.iter().enumerate() {
            if *cell != Cell::default() {
                let (seconds, requests, errors) = (cell.seconds, cell.requests, cell.errors);
                write!(text, " {place}:{seconds}:{requests}:{errors}")
                    .expect("writing to a string does not fail");
            }
        }
        serializer.serialize_str(&text)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Ring<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ring<N>, D::Error> {
        let text = String::deserialize(deserializer)?;
        ring(&text).ok_or_else(|| de::Error::custom(format!("{text:?} holds no budget windows")))
    }
}

fn ring<const N: usize>(text: &str) -> Option<Ring<N>> {
    let mut words = text.split(' ');
    let mut ring = Ring {
        newest: words.next()?.parse().ok()?,
        ..Ring::default()
    };
    for word in words {
        let mut parts = word.split(':');
        let place: usize = parts.next()?.parse().ok()?;
        *ring.cells.get_mut(place)? = Cell {
            seconds: parts.next()?.parse().ok()?,
            requests: parts.next()?.parse().ok()?,
            errors: parts.next()?.parse().ok()?,
        };
    }
    Some(ring)
}
