//! The words of the recordings: operations, log lines, stack traces. None of
//! them names a service; a line that speaks of another service carries its
//! anonymous name.

use crate::draw::Draw;
use crate::effect::Mutter;
use crate::graph::Role;
use crate::serve::Fail;
use midwatch_events::raw::LogLevel;

const NOUNS: [&str; 28] = [
    "order", "cart", "price", "quote", "account", "ticket", "seat", "route", "invoice", "profile",
    "review", "rating", "stock", "parcel", "coupon", "message", "session", "catalog", "payment",
    "address", "search", "report", "image", "policy", "booking", "menu", "ledger", "device",
];
const VERBS: [&str; 8] = [
    "Get", "List", "Create", "Update", "Check", "Reserve", "Compute", "Cancel",
];

/// A name for operation number `index`, unlike those of the others.
pub(crate) fn operation(draw: &mut Draw, role: Role, index: usize) -> String {
    let noun = draw.pick(&NOUNS);
    let verb = draw.pick(&VERBS);
    match role {
        Role::Database => {
            let verb = draw.pick(&["SELECT", "UPDATE", "INSERT", "find", "aggregate"]);
            format!("{verb} {noun}_{index}")
        }
        Role::Cache => format!("{} {noun}:{index}", draw.pick(&["GET", "MGET", "HGETALL"])),
        Role::Queue => format!("publish {noun}.events.{index}"),
        Role::Entry | Role::Service => match draw.int(0, 2) {
            0 => format!(
                "{} /api/v{index}/{noun}",
                draw.pick(&["GET", "POST", "PUT"])
            ),
            1 => format!("{noun}.v{index}.Service/{verb}"),
            _ => format!("{verb}{}{index}", capital(noun)),
        },
    }
}

/// A name for a function within operation number `operation`.
pub(crate) fn step(draw: &mut Draw, operation: usize, step: usize) -> String {
    let verb = draw.pick(&[
        "validate", "load", "merge", "render", "price", "encode", "audit",
    ]);
    format!("{verb}_{}_{operation}_{step}", draw.pick(&NOUNS))
}

/// What a function within an operation says.
pub(crate) fn stepped(draw: &mut Draw, step: &str) -> String {
    format!("{step}: {} entries ready", draw.int(1, 400))
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
        .unwrap_or_default()
}

/// What a service says unprompted under one kind of trouble: key, level,
/// and the line, where `#` is a number that changes.
pub const MUTTERS: [(&str, LogLevel, &str); 16] = [
    (
        "gc",
        LogLevel::Warn,
        "GC pause of # ms, heap #MB of #MB after collection",
    ),
    (
        "disk",
        LogLevel::Warn,
        "fsync took # ms, write-ahead buffer is # % full",
    ),
    (
        "sockets",
        LogLevel::Error,
        "accept failed: too many open files (# in use)",
    ),
    (
        "lock",
        LogLevel::Warn,
        "process # still waiting for ShareLock on transaction # after # ms",
    ),
    (
        "slow_query",
        LogLevel::Warn,
        "slow statement: duration # ms, rows examined #",
    ),
    (
        "pool",
        LogLevel::Error,
        "timed out after # ms waiting for a connection from the pool (size #, waiting #)",
    ),
    (
        "contention",
        LogLevel::Warn,
        "# threads blocked on monitor held by worker-# for # ms",
    ),
    (
        "crash",
        LogLevel::Fatal,
        "process exits with code #: unrecoverable error in request handler",
    ),
    (
        "start",
        LogLevel::Info,
        "application started in # ms, listening on port #",
    ),
    ("health", LogLevel::Info, "GET /healthz 200 # ms"),
    (
        "cron",
        LogLevel::Info,
        "scheduled job finished: # rows in # ms",
    ),
    ("heartbeat", LogLevel::Info, "heartbeat sent, lag # ms"),
    (
        "refresh",
        LogLevel::Info,
        "configuration refreshed, revision #",
    ),
    (
        "stale",
        LogLevel::Warn,
        "cached entry is older than # s, refreshing",
    ),
    (
        "deprecated",
        LogLevel::Warn,
        "deprecated header seen on request #",
    ),
    (
        "retry",
        LogLevel::Warn,
        "connection reset by peer, attempt # of 3",
    ),
];

/// The trouble `key` of [`MUTTERS`], so many lines a second.
pub(crate) fn mutter(key: &str, rate: f64) -> Mutter {
    let words = MUTTERS
        .iter()
        .position(|(name, _, _)| *name == key)
        .expect("only keys of the table above are asked for");
    Mutter { words, rate }
}

/// A line of the table with numbers put in.
pub(crate) fn filled(draw: &mut Draw, line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 12);
    for letter in line.chars() {
        if letter == '#' {
            out.push_str(&draw.int(1, 9000).to_string());
        } else {
            out.push(letter);
        }
    }
    out
}

/// What an operation says when it did its work.
pub(crate) fn done(draw: &mut Draw, name: &str, dialect: usize, ms: f64) -> String {
    let id = draw.int(1000, 9_999_999);
    match dialect {
        0 => format!("{name} completed in {ms:.1} ms for request {id}"),
        1 => format!("level=info op=\"{name}\" status=ok took={ms:.0}ms id={id}"),
        _ => format!("[http-worker-{}] Handled {name} id={id} -> 200", id % 16),
    }
}

/// What an operation says after a call that it made.
pub(crate) fn called(draw: &mut Draw, callee_operation: usize, dialect: usize) -> String {
    let noun = NOUNS[callee_operation % NOUNS.len()];
    let count = draw.int(1, 60);
    match (dialect + callee_operation) % 3 {
        0 => format!("loaded {count} {noun} records"),
        1 => format!("{noun} step {callee_operation} done, {count} items"),
        _ => format!("received {noun} answer with {count} fields, step {callee_operation}"),
    }
}

/// Whether failures name the other service or only an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    ByName,
    ByAddress,
}

fn other(callee: &str, naming: Naming) -> String {
    if naming == Naming::ByName {
        return callee.to_owned();
    }
    let number: usize = callee.trim_start_matches('s').parse().unwrap_or(0);
    format!("10.4.{}.{}", number / 8, 11 + number * 3)
}

/// What a service says about a failed request of its operation `name`.
/// `callee` is the service that it called, where the failure came from there.
pub(crate) fn failure(
    draw: &mut Draw,
    fail: Fail,
    name: &str,
    callee: &str,
    dialect: usize,
    naming: Naming,
) -> (LogLevel, String) {
    let host = other(callee, naming);
    let id = draw.int(1000, 9_999_999);
    let line = match fail {
        Fail::Own => format!("{name}: request {id} failed: conflicting update, giving up"),
        Fail::Fault => format!("{name}: request {id} failed: resource temporarily unavailable"),
        Fail::Thrown => stack_trace(draw, name, dialect),
        Fail::Overload => format!("{name}: worker queue full ({id} waiting), request rejected"),
        Fail::Timeout => match dialect {
            0 => format!("{name}: call to {host} timed out, request {id}"),
            _ => format!("context deadline exceeded: upstream {host}, request {id}"),
        },
        Fail::Refused => match dialect {
            0 => format!("{name}: connect to {host}:8080 failed: Connection refused"),
            1 => format!("dial tcp {host}:8080: connect: connection refused"),
            _ => format!("upstream {host} unavailable: no healthy endpoint, request {id}"),
        },
        Fail::Downstream => format!("{name}: call to {host} failed with status 500, request {id}"),
        Fail::Invalid => format!("{name}: {host} answered 400 Bad Request to request {id}"),
        Fail::Unreadable => format!(
            "{name}: cannot use the answer of {host}: expected a positive amount, got -{id}"
        ),
    };
    let level = match fail {
        Fail::Overload => LogLevel::Warn,
        _ => LogLevel::Error,
    };
    (level, line)
}

/// What the callee says about a request that it refuses.
pub(crate) fn refusal(draw: &mut Draw, name: &str, dialect: usize) -> (LogLevel, String) {
    let id = draw.int(1000, 9_999_999);
    match dialect {
        0 => (
            LogLevel::Warn,
            format!("{name}: validation failed: field 'currency' must not be empty, request {id}"),
        ),
        1 => (
            LogLevel::Error,
            format!("level=error op=\"{name}\" err=\"invalid argument: quantity -{id}\""),
        ),
        _ => (
            LogLevel::Warn,
            format!("rejecting {name}: malformed identifier '{id:x}-?'"),
        ),
    }
}

fn stack_trace(draw: &mut Draw, name: &str, dialect: usize) -> String {
    let line = 40 + name.len() * 7;
    let thread = draw.int(1, 32);
    match dialect {
        0 => format!(
            "Unhandled exception in thread worker-{thread} while serving {name}\njava.lang.NullPointerException: Cannot invoke \"Discount.rate()\" because \"discount\" is null\n\tat com.example.handler.Assembler.apply(Assembler.java:{line})\n\tat com.example.handler.Endpoint.handle(Endpoint.java:88)\n\tat java.base/java.lang.Thread.run(Thread.java:840)"
        ),
        1 => format!(
            "panic: runtime error: index out of range [3] with length 3\n\ngoroutine {thread} [running]:\nmain.(*handler).serve(0xc000{thread:x})\n\t/app/handler.go:{line} +0x1d4"
        ),
        _ => format!(
            "Traceback (most recent call last):\n  File \"/app/server.py\", line {line}, in handle\n    total = sum(item['amount'] for item in items)\nKeyError: 'amount' ({name}, worker {thread})"
        ),
    }
}
