//! How [`super::state::Group::began`] is stored: four times each, because a storm
//! has thousands. Earlier builds stored their names as well.

use super::state::Began;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Times(i64, i64, i64, i64),
    Named(Began),
}

pub fn serialize<S: Serializer>(all: &BTreeMap<Uuid, Began>, to: S) -> Result<S::Ok, S::Error> {
    let times = |one: &Began| (one.at_ms, one.earliest_ms, one.latest_ms, one.crossed_ms);
    let times: BTreeMap<&Uuid, _> = all.iter().map(|(id, one)| (id, times(one))).collect();
    times.serialize(to)
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Uuid, Began>, D::Error> {
    let stored = BTreeMap::<Uuid, Stored>::deserialize(from)?;
    let read = |stored| match stored {
        Stored::Named(began) => began,
        Stored::Times(at_ms, earliest_ms, latest_ms, crossed_ms) => Began {
            at_ms,
            earliest_ms,
            latest_ms,
            crossed_ms,
        },
    };
    Ok(stored
        .into_iter()
        .map(|(id, one)| (id, read(one)))
        .collect())
}
