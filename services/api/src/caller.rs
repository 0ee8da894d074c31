//! Where a request comes from.

use crate::App;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

/// Addresses of `X-Forwarded-For` that are looked at, the last ones.
const HOPS: usize = 16;

/// The other end of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The address of the connection.
    pub peer: Option<IpAddr>,
    /// The client's address: the connection's, or what a trusted proxy says of
    /// it; empty where none is known.
    pub address: String,
}

impl Caller {
    /// `trusted` says which addresses may speak for others.
    fn new(peer: Option<IpAddr>, headers: &HeaderMap, trusted: impl Fn(IpAddr) -> bool) -> Caller {
        let mut client = peer.map(|peer| peer.to_canonical());
        let lines = headers.get_all("x-forwarded-for").iter();
        let named = lines.filter_map(|line| line.to_str().ok());
        let named: Vec<&str> = named.flat_map(|line| line.split(',')).collect();
        // Each proxy adds at the end from whom it heard. Whoever comes before
        // the first that is not trusted may have written what it liked.
        for hop in named.into_iter().rev().take(HOPS) {
            if !client.is_some_and(&trusted) {
                break;
            }
            let Ok(address) = hop.trim().parse::<IpAddr>() else {
                break;
            };
            client = Some(address.to_canonical());
        }
        Caller {
            peer,
            address: client.map_or_else(String::new, |client| client.to_string()),
        }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map(|ConnectInfo(address)| address.ip());
        let trusted = |address| app.operators.trusts(address);
        Ok(Caller::new(peer, &parts.headers, trusted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_says_who_the_client_is() {
        let proxies = ["10.0.0.1", "10.0.0.2"];
        let trusted = |address: IpAddr| proxies.contains(&address.to_string().as_str());
        for (peer, forwarded, client) in [
            ("192.0.2.9", "198.51.100.1", "192.0.2.9"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.1, 192.0.2.9", "192.0.2.9"),
            ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.1, <script>", "10.0.0.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ] {
            let headers = HeaderMap::from_iter([(
                "x-forwarded-for".parse().unwrap(),
                forwarded.parse().unwrap(),
            )]);
            let caller = Caller::new(peer.parse().ok(), &headers, trusted);
            assert_eq!(caller.address, client, "{peer} {forwarded}");
        }
        assert_eq!(
            Caller::new(None, &HeaderMap::new(), trusted),
            Caller::default()
        );
    }
}
