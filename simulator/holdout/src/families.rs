//! What is measured. Each family is a small model of the thing behind the gauge; its
//! anomalies are changes of the model's causes, except for the few faults of a sensor.

mod compute;
mod data;
mod network;
mod outdoors;
mod plant;
mod trade;

use crate::frame::Family;

/// Families that work in cycles of their own, whose phase any disturbance moves.
pub const CYCLIC: &[&str] = &[
    "jvm_heap",
    "tank_level",
    "cold_store",
    "disk_write_bytes",
    "greenhouse_humidity",
    "bike_dock",
    "autoscaled_cpu",
];

/// All families, in a fixed order.
pub fn all() -> impl Iterator<Item = &'static Family> {
    [
        compute::FAMILIES,
        network::FAMILIES,
        data::FAMILIES,
        trade::FAMILIES,
        outdoors::FAMILIES,
        plant::FAMILIES,
    ]
    .into_iter()
    .flatten()
}

/// Names of all families.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().map(|family| family.name)
}
