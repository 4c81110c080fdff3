//! Ports on loopback that stay ours.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddr, UnixDatagram},
    },
};

use crate::error::Error;

/// Below the ports that Linux gives to outgoing connections (from 32768 by default, `ip_local_port_range` in ip(7)):
/// a client that keeps calling a server which is down could otherwise be given that server's own port.
const RANGE: std::ops::Range<u16> = 20000..32768;

/// A port of 127.0.0.1, free when it was taken and not given to any other user of the lab on this machine while this
/// value lives. Nothing listens on it: it is for a server that is started, stopped and started again.
#[derive(Debug)]
pub struct Port {
    number: u16,
    // An abstract socket name can be bound once, and the kernel gives it up when the program dies.
    _claim: UnixDatagram,
}

impl Port {
    /// Takes a free port.
    ///
    /// # Errors
    /// [`Error::Usage`] when every port of the range is taken.
    pub fn take() -> Result<Self, Error> {
        let count = RANGE.end - RANGE.start;
        // A random start, so that a client left over from another run is unlikely to call on this one.
        let first = RandomState::new().hash_one(()) % u64::from(count);
        let first = u16::try_from(first).unwrap_or_default();
        (0..count)
            .map(|step| RANGE.start + (first + step) % count)
            .find_map(Self::claim)
            .ok_or_else(|| Error::Usage(format!("no port of {RANGE:?} is free on 127.0.0.1")))
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:NUMBER`.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }

    fn claim(number: u16) -> Option<Self> {
        let name = UnixAddr::from_abstract_name(format!("gtm-lab/port/{number}")).ok()?;
        let claim = UnixDatagram::bind_addr(&name).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _claim: claim })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_port_is_given_once_and_again_after_its_release() {
        let port = Port::take().unwrap();
        assert!(Port::claim(port.number()).is_none());
        let number = port.number();
        drop(port);
        // A program that another test is just starting has a copy of the claim from fork(2) until exec(2).
        let deadline = Instant::now() + Duration::from_secs(5);
        let again =
            std::iter::repeat_with(|| Port::claim(number)).find(|again| again.is_some() || Instant::now() > deadline);
        assert_eq!(again.flatten().map(|port| port.number()), Some(number));
    }

    #[test]
    fn a_port_that_is_listened_on_is_not_given() {
        let port = Port::take().unwrap();
        let number = port.number();
        let _listener = TcpListener::bind(port.address()).unwrap();
        drop(port);
        assert!(Port::claim(number).is_none());
    }
}
