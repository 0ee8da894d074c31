//! How well Midwatch does, against faults whose truth is known.
//!
//! Consumes the simulator's ground truth and what became of it: incidents with
//! their ranked causes. Produces a table for people and JSON for programs.
//!
//! - [`judge`] is pure: faults and incidents in, one row per fault and totals
//!   out. Every figure is defined there.
//! - [`report`] words the judgement of one run in 80 columns, [`summary`] adds
//!   up many; both have JSON as well.
//! - [`cases`] judges what is no fault of the seven, found or rightly not;
//!   [`case_report`] words it.
//! - [`trials`] judges small stories: faults at once, red herrings, missing
//!   readings, healthy controls; [`trial_report`] words it.
//! - [`decisions`] compares the confidence of answers with what came of them.
//! - [`quiet`] counts false incidents on days with a rhythm.
//! - [`virtual_run`] produces incidents by the agents' own cores in virtual
//!   time, in one process, without broker or database.
//! - [`real`] watches a running stack until its fleet is done.
//! - [`results`] holds all that one call scores.
//! - [`collected`] makes the judge's input from what real processes said: the
//!   API's answers and the ground-truth topic.
//!
//! Guarantees: the same seed and numbers give the same judgement; memory does
//! not grow with the simulated time, except for one short summary per fault
//! and incident and, in a case's run, what was published of findings.

pub mod case_report;
pub mod cases;
pub mod collected;
pub mod decisions;
pub mod judge;
pub mod quiet;
pub mod real;
pub mod report;
pub mod results;
pub mod summary;
pub mod trial_report;
pub mod trials;
pub mod virtual_run;
