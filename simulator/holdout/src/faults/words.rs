//! Names of operations and the small change of log lines. Nothing here depends on a fault.

use super::world::{Kind, Language};
use crate::dice::Dice;

const THINGS: [&str; 24] = [
    "basket",
    "quote",
    "ticket",
    "voucher",
    "seat",
    "route",
    "invoice",
    "parcel",
    "review",
    "profile",
    "catalogue",
    "coupon",
    "session",
    "address",
    "wallet",
    "refund",
    "menu",
    "booking",
    "station",
    "rating",
    "photo",
    "token",
    "tariff",
    "shipment",
];
const DEEDS: [&str; 10] = [
    "Get", "List", "Create", "Update", "Check", "Search", "Reserve", "Cancel", "Price", "Assign",
];

/// A name for an operation of such a service.
pub fn operation(dice: &mut Dice, kind: Kind) -> String {
    let thing = THINGS[dice.index(THINGS.len())];
    let deed = DEEDS[dice.index(DEEDS.len())];
    match kind {
        Kind::Entry => match dice.index(4) {
            0 => format!("GET /{thing}s"),
            1 => format!("GET /{thing}s/{{id}}"),
            2 => format!("POST /{thing}s"),
            _ => format!("PUT /{thing}s/{{id}}"),
        },
        Kind::Logic => match dice.index(2) {
            0 => format!("{deed}{}", capital(thing)),
            _ => format!("POST /internal/{}/{thing}", deed.to_lowercase()),
        },
        Kind::Worker => format!("consume {thing}s"),
        Kind::Broker => "publish".to_owned(),
        Kind::Sql => format!("{} {thing}s", ["SELECT", "UPDATE", "INSERT"][dice.index(3)]),
        Kind::Document => format!(
            "{} {thing}s",
            ["find", "aggregate", "findAndModify"][dice.index(3)]
        ),
        Kind::Cache => "GET".to_owned(),
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// Line patterns of an ordinary day; `{id}`, `{n}`, `{ms}`, `{ip}`, `{op}` are filled in.
pub fn everyday(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Entry => &[
            "{ip} - - \"{op} HTTP/1.1\" 200 {n} {ms}ms",
            "request completed op=\"{op}\" status=200 duration={ms}ms request_id={id}",
            "session {id} renewed",
            "rate limiter: bucket {id} at {n} tokens",
            "served {op} for user {id} in {ms} ms",
        ],
        Kind::Logic => &[
            "handled {op} id={id} in {ms}ms",
            "{op} ok, {n} items, trace {id}",
            "validated request {id}",
            "mapping {n} rows for {id}",
            "[http-worker-{n}] {op} done: {ms} ms",
            "published change event for {id}",
        ],
        Kind::Worker => &[
            "processed message {id} offset {n} in {ms}ms",
            "committed offset {n} on partition 3",
            "batch of {n} messages done",
        ],
        Kind::Broker => &[
            "rolled log segment at offset {n}",
            "partition 3: high watermark advanced to {n}",
            "client {ip} connected",
        ],
        Kind::Sql => &[
            "duration: {ms} ms  statement: {op} where id = {n}",
            "checkpoint complete: wrote {n} buffers",
            "connection authorized: user=app database=main host={ip}",
            "automatic vacuum of table: removed {n} row versions",
        ],
        Kind::Document => &[
            "command {op} took {ms}ms nreturned:{n}",
            "connection accepted from {ip} #{n}",
        ],
        Kind::Cache => &[
            "{n} keys expired",
            "background saving terminated with success",
            "accepted {ip}:{n}",
        ],
    }
}

/// Harmless grumbling.
pub const GRUMBLES: [&str; 8] = [
    "slow request: {op} took {ms} ms",
    "deprecated header x-{n} used by client {ip}",
    "clock drift of {n} ms corrected",
    "retrying metrics export, attempt {n}",
    "user {id} sent an unknown locale, using default",
    "configuration key cache.ttl not set, using default {n}",
    "client {ip} closed the connection before the reply",
    "token of user {id} expires in {n} s",
];

/// Fills the blanks of `pattern`.
pub fn fill(dice: &mut Dice, pattern: &str, op: &str, ms: f64) -> String {
    let mut text = pattern
        .replace("{op}", op)
        .replace("{ms}", &format!("{ms:.1}"));
    if text.contains("{id}") {
        text = text.replace(
            "{id}",
            &format!("{:08x}", (dice.unit() * 4_294_967_295.0) as u64),
        );
    }
    if text.contains("{n}") {
        text = text.replace("{n}", &format!("{}", dice.index(5000)));
    }
    if text.contains("{ip}") {
        text = text.replace(
            "{ip}",
            &format!(
                "10.{}.{}.{}",
                dice.index(20),
                dice.index(256),
                dice.index(256)
            ),
        );
    }
    text
}

/// An error as the language prints it: message first, then where it happened.
pub fn trouble(
    dice: &mut Dice,
    language: Language,
    class: &str,
    message: &str,
    place: &str,
) -> String {
    let line = 10 + dice.index(8) * 17;
    match language {
        Language::Java => format!(
            "java.lang.{class}Exception: {message}\n\tat app.core.{place}Handler.handle({place}Handler.java:{line})\n\tat app.core.Dispatcher.invoke(Dispatcher.java:88)\n\tat java.base/java.lang.Thread.run(Thread.java:840)"
        ),
        Language::Go => format!(
            "{}: {message} (handler/{}.go:{line})",
            class.to_lowercase(),
            place.to_lowercase()
        ),
        Language::Python => format!(
            "Traceback (most recent call last):\n  File \"/app/handlers/{}.py\", line {line}, in handle\n    result = self.run(request)\n{class}Error: {message}",
            place.to_lowercase()
        ),
        Language::Node => format!(
            "{class}Error: {message}\n    at handle{place} (/srv/app/dist/{}.js:{line}:11)\n    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)",
            place.to_lowercase()
        ),
        Language::Dotnet => format!(
            "System.{class}Exception: {message}\n   at App.{place}Controller.Run() in /src/{place}Controller.cs:line {line}"
        ),
        Language::Rust => format!(
            "request failed: {class}: {message} at src/{}.rs:{line}",
            place.to_lowercase()
        ),
    }
}

/// The part of an operation's name that can stand in a file name.
pub fn place(op: &str) -> String {
    let word: String = op
        .split(|c: char| !c.is_ascii_alphabetic())
        .rfind(|part| part.len() > 2)
        .unwrap_or("request")
        .to_owned();
    capital(&word)
}
