//! Finds a free TCP port on loopback.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

/// Below the ports that systems hand out to outgoing connections (from 32768 on Linux), so that the
/// port is still free when the API server is restarted; above the ones with well-known owners.
const FIRST: u16 = 20_000;

/// Ends below 30000, where Kubernetes' own node ports begin.
const COUNT: u16 = 9_000;

/// A port that nobody listens on, or `None` if all are taken.
///
/// The search begins at a random place, so that two planes started at once do not race for one.
pub(crate) fn free() -> Option<u16> {
    let random = RandomState::new().hash_one(0_u8) % u64::from(COUNT);
    let start = u16::try_from(random).expect("a remainder is below its divisor");
    (0..COUNT).map(|offset| FIRST + (start + offset) % COUNT).find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}
