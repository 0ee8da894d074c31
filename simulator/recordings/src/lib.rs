//! Generated recordings of microservice faults, and their scorer.
//!
//! Consumes a seed; produces case folders that `midwatch investigate` reads
//! (`topology.json`, `metrics.jsonl`, and by shape `logs.jsonl` and
//! `spans.jsonl`) and the truth about each (`truth.json`). The same seed gives
//! the same bytes. The scorer runs an investigator on every folder and judges
//! the ranking against the truth. Recordings are for tuning: whoever wants to
//! know how good an investigator is must ask elsewhere.
//!
//! # What is modelled
//!
//! - **Graph** ([`graph`]): 8 to 60 services in layers, with shared stores,
//!   operations of their own, and calls that are made once, sometimes, or
//!   several times; one after another or side by side; each with the caller's
//!   patience, retries, and perhaps a fallback that swallows the failure.
//! - **Requests** ([`serve`]): one function serves a request, in the steps of
//!   the simulation and in the traces alike. Self time is lognormal, often with
//!   a tail; a network that loses packets costs doubling retransmissions; a
//!   timeout caps what the caller waits and turns into an error; an error
//!   travels along calls until somebody's retry or fallback stops it.
//! - **Load** ([`engine`]): rates run down the graph, latencies up. Cores in
//!   use slow a service down, workers in use make requests queue, both turn
//!   requests away when spent; retries add load, and in some cases users who
//!   wait for answers take load away when answers are slow. What happens in
//!   one step is felt in the next.
//! - **Resources**: CPU, memory, disk, network, sockets, threads and pools
//!   follow from the traffic, plus what a fault adds.
//! - **Observers** ([`metrics`], [`trace`]): counters are Poisson, error
//!   shares binomial, quantiles taken from a sample; several naming schemes
//!   and units; latency as the service or as its callers see it; gaps, lost
//!   series, stores that nobody measures or traces, clocks that differ, edges
//!   that are missing from the topology or no longer true.
//! - **Distractions** ([`plan`]): loud healthy neighbours, jobs, bursts, load
//!   shifts, trends, level shifts long before the fault, hosts under pressure,
//!   short hiccups everywhere, operations that have always failed now and then.
//! - **Faults** ([`family`]): resources, network, stores, pools, outages,
//!   configuration, code; two at once; and controls with none. Severity runs
//!   from hardly visible to gross; a fault may touch one replica of several,
//!   or one operation of several, begin slowly, or begin before or after the stated start.
//!
//! # What is not
//!
//! Asynchronous consumers of queues and their lag; autoscaling and new
//! instances; series per instance; counters that only grow; several faults in
//! a causal chain; deployments and Kubernetes events beside the recording.
//! Within a step requests are independent of each other, so latencies of one
//! trace are correlated only through the state of the services it visits.

mod bugs;
pub mod case;
mod distraction;
pub mod draw;
pub mod effect;
pub mod engine;
pub mod family;
pub mod files;
pub mod graph;
pub mod metrics;
pub mod plan;
pub mod score;
pub mod serve;
mod target;
pub mod trace;
pub mod words;
