//! Addresses of the servers that `make test` starts.

use std::env::vars;

pub fn variable(name: &str) -> Option<String> {
    vars()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value)
}

pub fn needed(name: &str) -> String {
    variable(name).unwrap_or_else(|| {
        panic!(
            "{name} is not set: this test needs the servers of `make test` (midwatch-stack exec)"
        )
    })
}
