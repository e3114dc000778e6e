//! Loopback addresses, one for each guest.
//!
//! Several processes may draw guests on one machine. A UDP socket bound to the guest's SSH port
//! holds the address for as long as the guest lives: the kernel gives it to one of them only.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use super::DrawnConfig;

/// How many addresses that others hold are passed over before giving up.
const TRIES_MAX: u32 = 4096;

/// The addresses of one range that this process holds.
#[derive(Debug)]
pub(super) struct Addresses {
    first: u32,
    count: u32,
    port: u16,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    numbers: BTreeSet<u32>,
    /// Where the search begins, counted from the first: a freed address rests for a round, so that
    /// somebody who still knows it does not meet another guest there.
    next: u32,
}

/// One address, held until this is dropped.
#[derive(Debug)]
pub(super) struct HeldAddress {
    pub(super) address: Ipv4Addr,
    _socket: UdpSocket,
    pool: Arc<Addresses>,
}

impl Addresses {
    pub(super) fn new(config: &DrawnConfig) -> Self {
        let bits = 32 - u32::from(config.prefix.clamp(8, 30));
        let network = config.network.to_bits() >> bits << bits;
        // Neither the network's own address nor its broadcast address.
        let (first, count) = (network + 1, (1u32 << bits) - 2);
        Self { first, count, port: config.ssh_port, held: Mutex::default() }
    }

    /// The next free address.
    pub(super) fn take(self: &Arc<Self>) -> io::Result<HeldAddress> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tries = 0;
        for step in 0..self.count {
            let offset = (held.next + step) % self.count;
            let number = self.first + offset;
            if held.numbers.contains(&number) {
                continue;
            }
            let address = Ipv4Addr::from_bits(number);
            match UdpSocket::bind((address, self.port)) {
                Ok(socket) => {
                    held.numbers.insert(number);
                    held.next = offset + 1;
                    return Ok(HeldAddress { address, _socket: socket, pool: self.clone() });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES_MAX => {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "every address of the range is taken"))
    }
}

impl Drop for HeldAddress {
    fn drop(&mut self) {
        let mut held = self.pool.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.numbers.remove(&self.address.to_bits());
    }
}
