//! Single-precision numbers in stored state. They halve what a series costs,
//! and are written as their bits, so that they come back exactly.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of about seven digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub(crate) struct Single(pub f32);

impl Serialize for Single {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0.to_bits())
    }
}

impl<'de> Deserialize<'de> for Single {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Single, D::Error> {
        u32::deserialize(deserializer).map(|bits| Single(f32::from_bits(bits)))
    }
}
