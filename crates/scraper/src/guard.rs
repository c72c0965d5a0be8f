use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rheostat_engines::{CustomError, Endpoint};

use crate::http::{RequestError, TlsError};

/// A target that is not scraped.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No pod has such an address, or it is not one's own.
    #[error("refused: {address} is {kind}, which no engine has")]
    Address {
        /// The address.
        address: IpAddr,
        /// What kind of address it is.
        kind: &'static str,
    },
    /// No port.
    #[error("refused: port 0 of {address} is none")]
    Port {
        /// The address.
        address: IpAddr,
    },
    /// Too often, or too seldom to be of use.
    #[error("refused: period {0:?}: {MIN_PERIOD:?} to {MAX_PERIOD:?} is allowed")]
    Period(Duration),
    /// Too many targets.
    #[error("refused: more than {0} targets")]
    TooMany(usize),
    /// The path or the token cannot be sent.
    #[error("refused: {0}")]
    Request(#[from] RequestError),
    /// TLS cannot be set up.
    #[error("refused: {0}")]
    Tls(#[from] TlsError),
    /// The custom engine is malformed.
    #[error("refused: {0}")]
    Custom(#[source] CustomError),
}

/// The shortest time between two scrapes of an engine.
pub const MIN_PERIOD: Duration = Duration::from_millis(500);

/// The longest.
pub const MAX_PERIOD: Duration = Duration::from_secs(60);

/// Where clouds tell a machine its credentials, by IPv6; by IPv4 it is a link-local address.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Whether an endpoint may be scraped. Whoever hands over targets has taken their addresses from pods;
/// this is the second lock on the same door.
pub(crate) fn check(endpoint: &Endpoint, allow_loopback: bool) -> Result<(), Refusal> {
    let Endpoint { address, period, .. } = endpoint;
    check_address(*address, allow_loopback)?;
    if *period < MIN_PERIOD || *period > MAX_PERIOD {
        return Err(Refusal::Period(*period));
    }
    Ok(())
}

fn check_address(address: SocketAddr, allow_loopback: bool) -> Result<(), Refusal> {
    // `::ffff:127.0.0.1` is 127.0.0.1.
    let ip = address.ip().to_canonical();
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let kind = if ip.is_loopback() && !allow_loopback {
        "a loopback address"
    } else if link_local {
        "a link-local address"
    } else if ip.is_unspecified() || matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 0) {
        "the unspecified address"
    } else if ip.is_multicast() {
        "a multicast address"
    } else if matches!(ip, IpAddr::V4(ip) if ip.is_broadcast()) {
        "the broadcast address"
    } else if ip == METADATA {
        "a cloud's metadata service"
    } else if address.port() == 0 {
        return Err(Refusal::Port { address: ip });
    } else {
        return Ok(());
    };
    Err(Refusal::Address { address: ip, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_a_pod_can_have_are_asked() {
        let refused =
            |address: &str, allow_loopback| check_address(address.parse().unwrap(), allow_loopback).err();
        for bad in [
            "127.0.0.1:80",
            "127.9.9.9:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "169.254.169.254:80",
            "[::ffff:169.254.169.254]:80",
            "[fe80::1]:80",
            "[febf::1]:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "[::]:80",
            "224.0.0.1:80",
            "239.255.255.255:80",
            "[ff02::1]:80",
            "255.255.255.255:80",
            "[fd00:ec2::254]:80",
            "10.0.0.1:0",
        ] {
            assert!(refused(bad, false).is_some(), "{bad}");
            let loopback = bad.contains("127.") || bad.contains("::1]:") && bad.starts_with("[::1");
            assert_eq!(refused(bad, true).is_some(), !loopback, "{bad}");
        }
        for good in [
            "10.244.0.7:8000",
            "192.168.1.1:1",
            "100.64.0.9:65535",
            "[fd12::7]:8000",
            "[2001:db8::1]:8",
        ] {
            assert!(refused(good, false).is_none(), "{good}");
        }
        assert_eq!(
            refused("169.254.169.254:80", false).unwrap().to_string(),
            "refused: 169.254.169.254 is a link-local address, which no engine has"
        );
    }
}
