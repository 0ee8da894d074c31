//! The families of telemetry. Each is a function from randomness to a recipe
//! and draws its own unit, scale, length and noise, so that two series of one
//! family differ as two machines do.

use crate::draw::Draw;
use crate::recipe::{Kind, Recipe};

mod business;
mod host;
mod jobs;
mod process;
mod sensors;
mod shapes;
mod web;

pub(crate) type Make = fn(&mut Draw) -> Recipe;

/// What can befall almost any level.
const LEVELS: &[Kind] = &[
    Kind::SpikeUp,
    Kind::SpikeUp,
    Kind::SpikeDown,
    Kind::ShiftUp,
    Kind::ShiftDown,
    Kind::DriftUp,
    Kind::Beyond,
    Kind::Wild,
    Kind::Flat,
];

/// What can befall a daily rhythm.
const RHYTHMS: &[Kind] = &[
    Kind::PeakMissing,
    Kind::PeakMissing,
    Kind::PeakDoubled,
    Kind::PhaseShift,
    Kind::OtherDay,
    Kind::Night,
    Kind::Night,
];

/// A source that stops.
const OUTAGES: &[Kind] = &[Kind::Zero, Kind::Zero, Kind::Failure];

pub(crate) const ALL: &[(&str, Make)] = &[
    ("cpu_idle_cron", host::cpu_idle_cron),
    ("cpu_web_daily", host::cpu_web_daily),
    ("cpu_two_levels", host::cpu_two_levels),
    ("cpu_database_plateaus", host::cpu_database_plateaus),
    ("cpu_saturated", host::cpu_saturated),
    ("cpu_quiet_noise", host::cpu_quiet_noise),
    ("network_heavy_tail", host::network_heavy_tail),
    ("network_daily", host::network_daily),
    ("disk_writes_bursts", host::disk_writes_bursts),
    ("disk_usage", host::disk_usage),
    ("load_average", host::load_average),
    ("memory_gc_sawtooth", host::memory_gc_sawtooth),
    ("memory_restarts", host::memory_restarts),
    ("requests_sparse", web::requests_sparse),
    ("requests_daily", web::requests_daily),
    ("requests_multi_modal", web::requests_multi_modal),
    ("latency_tails", web::latency_tails),
    ("latency_daily", web::latency_daily),
    ("errors_mostly_zero", web::errors_mostly_zero),
    ("queue_depth", web::queue_depth),
    ("consumer_lag", web::consumer_lag),
    ("connection_pool", web::connection_pool),
    ("cache_hit_ratio", web::cache_hit_ratio),
    ("autoscaling", web::autoscaling),
    ("deploy_steps", web::deploy_steps),
    ("cost_per_click", business::cost_per_click),
    ("cost_hourly_daily", business::cost_hourly_daily),
    ("orders_weekly", business::orders_weekly),
    ("taxi_passengers", business::taxi_passengers),
    ("mentions_busy", business::mentions_busy),
    ("mentions_rare", business::mentions_rare),
    ("road_speed", business::road_speed),
    ("road_occupancy", business::road_occupancy),
    ("road_travel_time", business::road_travel_time),
    ("machine_temperature", sensors::machine_temperature),
    ("room_temperature", sensors::room_temperature),
    ("power_demand", sensors::power_demand),
    ("quantised_sensor", sensors::quantised_sensor),
    ("vibration", sensors::vibration),
    ("battery_voltage", sensors::battery_voltage),
    ("key_hold", sensors::key_hold),
    ("constant_noise", process::constant_noise),
    ("constant_exact", process::constant_exact),
    ("clean_daily", process::clean_daily),
    ("square_duty", process::square_duty),
    ("random_walk", process::random_walk),
    ("regime_switching", process::regime_switching),
    ("growing_trend", process::growing_trend),
    ("gappy_daily", process::gappy_daily),
    ("counter_rate", process::counter_rate),
    ("batch_night", jobs::batch_night),
    ("periodic_spikes", jobs::periodic_spikes),
    ("backup_traffic", jobs::backup_traffic),
    ("burst_density", jobs::burst_density),
];

/// The families' names, in the order in which they are generated.
#[must_use]
pub fn families() -> Vec<&'static str> {
    ALL.iter().map(|(name, _)| *name).collect()
}
