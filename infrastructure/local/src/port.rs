//! Free ports on the loopback interface.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

/// Below the range from which Linux takes the local ports of outgoing
/// connections (32768 and up), so that a connection made between choosing a
/// port and listening on it cannot take it away.
const CHOICE: std::ops::Range<u16> = 20_000..32_000;

/// How far above a wished port the search goes.
const REACH: u16 = 50;

/// Ports given out by this process: a server that has not bound yet does not
/// show as taken.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port, and whether it is another one than was wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The free port.
    pub number: u16,
    /// The wished port, if that was taken.
    pub instead_of: Option<u16>,
}

/// Any free port.
///
/// # Errors
/// When none of the range is free.
pub fn any() -> Result<u16> {
    let span = CHOICE.end - CHOICE.start;
    // Processes start their search at different places, so that two stacks that
    // start together rarely look at the same port.
    let seed = u16::try_from(std::process::id() % u32::from(span)).expect("below a u16");
    let first = seed.wrapping_mul(37) % span;
    for step in 0..span {
        let number = CHOICE.start + (first + step) % span;
        if take(number)? {
            return Ok(number);
        }
    }
    bail!(
        "no port between {} and {} is free on 127.0.0.1; stop what holds them",
        CHOICE.start,
        CHOICE.end
    )
}

/// The wished port, or the next free one above it.
///
/// # Errors
/// When the fifty ports above are taken as well.
pub fn from(wished: u16) -> Result<Port> {
    for number in wished..=wished.saturating_add(REACH) {
        if take(number)? {
            let instead_of = (number != wished).then_some(wished);
            return Ok(Port { number, instead_of });
        }
    }
    bail!("port {wished} and the {REACH} above it are taken on 127.0.0.1; stop what holds them")
}

/// Reserves a port in this process if nobody listens on it.
fn take(number: u16) -> Result<bool> {
    let mut given = GIVEN.lock().ok().context("the port list is poisoned")?;
    if given.contains(&number) || TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_err() {
        return Ok(false);
    }
    given.insert(number);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_port_yields_the_next_free_one_and_says_so() {
        let first = any().unwrap();
        let _holder = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        let port = from(first).unwrap();
        assert!(port.number > first);
        assert_eq!(port.instead_of, Some(first));
    }

    #[test]
    fn a_port_is_given_only_once() {
        let many: BTreeSet<u16> = (0..20).map(|_| any().unwrap()).collect();
        assert_eq!(many.len(), 20);
    }
}
