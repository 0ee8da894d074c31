//! Communication: five mails for each incident.
//!
//! Consumes `incidents.opened`, `incidents.updated`, `rca.completed`,
//! `remediation.plans`, `remediation.actions` (read, no mail of its own),
//! `incidents.resolved`, `postmortems.generated` and, of `operator.commands`,
//! `resend` as consumer group `midwatch.communication`. Produces mails, rows in
//! `notifications`, and the audit lines NOTIFICATION_SENT, NOTIFICATION_FAILED,
//! NOTIFICATION_RESENT and COMMAND_REFUSED.
//!
//! Guarantees
//! - each recipient gets each stage of an incident once, under one Message-ID;
//!   who joins because severity rises or the cause is revised gets the stage
//!   that is due, nobody else gets it again; another cause, or another plan,
//!   is told to all and says that it replaces the one before;
//! - a one-time link is signed where it is handed over: no row of the database
//!   holds one that works;
//! - incidents of LOW severity are told together, in one digest per recipient
//!   and interval; once the severity rises, at once and in the ordinary way;
//! - the mails of an incident form one thread and come in the order of its
//!   life; a missing predecessor delays a mail for a minute at most, then it
//!   goes without;
//! - a delivery is tried three times, then it is FAILED in `notifications`
//!   and in the audit trail; a server's permanent refusal is not repeated, and
//!   one recipient's refusal, for good or for now, neither keeps the mail from
//!   the others nor makes them wait; each recipient gets an incident's mails in
//!   order;
//! - what finally failed is sent again where an operator asks for it, to those
//!   alone who have not got it;
//! - what a mail says stands in the event that it is about or in the one that
//!   opened the incident; names and log lines can inject neither markup nor
//!   headers.

mod acts;
pub mod again;
pub mod channels;
pub mod clocks;
pub mod config;
pub mod decide;
pub mod digest;
pub mod links;
pub mod mail;
pub mod markdown;
pub mod picture;
mod plans;
pub mod posts;
pub mod quiet;
pub mod receipts;
pub mod render;
pub mod routing;
pub mod shell;
pub mod smtp;
pub mod units;
pub mod view;

pub use shell::Communication;
