//! A proxy in front of this server that signs people in and names them in a
//! header (`OPERATOR_PROXY_HEADER`). The header counts only from the addresses
//! in `OPERATOR_PROXY_ADDRESSES`; from anywhere else it is refused, because it
//! can only be an attempt to be somebody.

use super::Operator;
use super::file::is_name;
use crate::error::ApiError;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use std::net::IpAddr;

/// Addresses that are named at most.
const NETWORKS: usize = 64;

/// Addresses that share their first `bits` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Network { address, bits })
    }

    fn holds(&self, other: IpAddr) -> bool {
        let same = |one: u128, other: u128, width: u32| {
            self.bits == 0 || (one ^ other) >> (width - self.bits) == 0
        };
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                same(u32::from(one).into(), u32::from(other).into(), 32)
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => same(one.into(), other.into(), 128),
            _ => false,
        }
    }
}

/// Who names people, and in which header.
#[derive(Clone, Debug)]
pub struct Proxy {
    header: HeaderName,
    networks: Vec<Network>,
}

impl Proxy {
    /// `header` is a header's name, `addresses` are addresses or networks
    /// (`10.0.0.0/8`) with commas between.
    ///
    /// # Errors
    /// Says which of the two is not usable, and why.
    pub fn new(header: &str, addresses: &str) -> Result<Proxy, (&'static str, String)> {
        let name = header.parse::<HeaderName>();
        let name = name.map_err(|_| {
            let fix = "a header's name such as X-Forwarded-User".to_owned();
            ("OPERATOR_PROXY_HEADER", fix)
        })?;
        let mut networks = Vec::new();
        for text in addresses.split(',').map(str::trim) {
            let network = Network::parse(text);
            networks.push(network.ok_or_else(|| {
                let fix =
                    format!("{text:?} is no address; name the proxy's as in 10.0.0.7,10.1.0.0/16");
                ("OPERATOR_PROXY_ADDRESSES", fix)
            })?);
        }
        if networks.len() > NETWORKS {
            let fix = format!("at most {NETWORKS} addresses");
            return Err(("OPERATOR_PROXY_ADDRESSES", fix));
        }
        Ok(Proxy {
            header: name,
            networks,
        })
    }

    /// Whether this is an address of the proxy.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.networks.iter().any(|network| network.holds(peer))
    }

    /// Whom the request names; `None` where it names nobody.
    ///
    /// # Errors
    /// 403 where it does not come from the proxy, or names nobody whom an
    /// operator could be called.
    pub(super) fn operator(
        &self,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<Option<Operator>, ApiError> {
        let mut given = headers.get_all(&self.header).iter();
        let Some(value) = given.next() else {
            return Ok(None);
        };
        let refused = |message: String, hint: &str| {
            metrics::counter!("midwatch_api_operators_refused_total").increment(1);
            Err(ApiError {
                status: StatusCode::FORBIDDEN,
                code: "proxy_not_trusted",
                message,
                hint: hint.to_owned(),
            })
        };
        let header = &self.header;
        if !peer.is_some_and(|peer| self.trusts(peer)) {
            return refused(
                format!("only the proxy may send {header}"),
                "leave the header out, or name the sender's address in OPERATOR_PROXY_ADDRESSES",
            );
        }
        let name = value.to_str().map(str::trim).unwrap_or_default();
        if given.next().is_some() || !is_name(name) {
            return refused(
                format!("{header} does not name one operator"),
                "let the proxy send it once, with letters, digits and ._-@+ only",
            );
        }
        Ok(Some(Operator {
            name: name.to_owned(),
            credential_id: format!("proxy:{name}"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(names: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for name in names {
            map.append("x-forwarded-user", name.parse().unwrap());
        }
        map
    }

    #[test]
    fn only_the_proxy_names_people() {
        let proxy = Proxy::new("X-Forwarded-User", "10.0.0.7, 192.168.4.0/22, fd00::/8").unwrap();
        for (peer, trusted) in [
            ("10.0.0.7", true),
            ("::ffff:10.0.0.7", true),
            ("10.0.0.8", false),
            ("192.168.7.255", true),
            ("192.168.8.0", false),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            let peer: IpAddr = peer.parse().unwrap();
            let found = proxy.operator(Some(peer), &headers(&["ana@example.com"]));
            match found {
                Ok(Some(operator)) => {
                    assert!(trusted, "{peer}");
                    assert_eq!(operator.credential_id, "proxy:ana@example.com");
                }
                other => assert!(!trusted && other.unwrap_err().code == "proxy_not_trusted"),
            }
            assert_eq!(proxy.operator(Some(peer), &headers(&[])), Ok(None));
        }
        assert!(proxy.operator(None, &headers(&["ana"])).is_err());
        let peer = "10.0.0.7".parse().ok();
        for names in [&["ana", "bo"][..], &[""], &["<b>"], &["ana, bo"]] {
            assert!(proxy.operator(peer, &headers(names)).is_err(), "{names:?}");
        }
    }

    #[test]
    fn a_bad_setting_is_named() {
        let error = Proxy::new("a b", "10.0.0.1").unwrap_err();
        assert_eq!(error.0, "OPERATOR_PROXY_HEADER");
        for bad in ["", "10.0.0.1,", "10.0.0.0/33", "proxy.example"] {
            let error = Proxy::new("x-user", bad).unwrap_err();
            assert_eq!(error.0, "OPERATOR_PROXY_ADDRESSES", "{bad}");
        }
    }
}
