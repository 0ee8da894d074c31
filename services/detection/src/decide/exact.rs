//! Stored numbers come back bit for bit: the state after a restart must be the
//! state before it. JSON numbers, read the fast way, may differ in the last
//! bit, so they are stored as text, which Rust writes and reads exactly.

use serde::{Deserialize, Deserializer, Serializer, de};

pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(&String::deserialize(deserializer)?)
}

fn number<E: de::Error>(text: &str) -> Result<f64, E> {
    text.parse()
        .map_err(|_| E::custom(format!("{text:?} is not a number")))
}

/// Lists, separated by spaces.
pub mod list {
    use serde::{Deserialize, Deserializer, Serializer, ser};
    use std::collections::VecDeque;

    pub fn serialize<S: Serializer>(
        values: &VecDeque<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        // A checkpoint writes thousands of these lists: one buffer, and the
        // fast writer of JSON numbers, whose digits are as exact.
        let mut text = Vec::with_capacity(20 * values.len());
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                text.push(b' ');
            }
            if value.is_finite() {
                serde_json::to_writer(&mut text, value).map_err(ser::Error::custom)?;
            } else {
                text.extend(value.to_string().bytes());
            }
        }
        serializer.serialize_str(&String::from_utf8_lossy(&text))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<VecDeque<f64>, D::Error> {
        String::deserialize(deserializer)?
            .split_whitespace()
            .map(super::number)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use std::collections::VecDeque;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Held(#[serde(with = "super::list")] VecDeque<f64>);

    #[test]
    fn lists_come_back_bit_for_bit_also_as_older_builds_wrote_them() {
        let mut values = VecDeque::from([0.0, -0.0, 5e-324, f64::MAX, f64::INFINITY, 1e21, 0.1]);
        let mut state = 7_u64;
        for _ in 0..10_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let value = f64::from_bits(state);
            if !value.is_nan() {
                values.push_back(value);
            }
        }
        let bits = |held: &Held| held.0.iter().map(|v| v.to_bits()).collect::<Vec<u64>>();
        let held = Held(values);
        let text = serde_json::to_string(&held).unwrap();
        assert_eq!(bits(&serde_json::from_str(&text).unwrap()), bits(&held));
        let older: Vec<String> = held.0.iter().map(f64::to_string).collect();
        let older = serde_json::to_string(&older.join(" ")).unwrap();
        assert_eq!(bits(&serde_json::from_str(&older).unwrap()), bits(&held));
    }
}
