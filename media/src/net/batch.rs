//! Datagrams that leave with one system call: of one size, to one client, the last one possibly shorter (UDP GSO).

use std::{io, net::SocketAddr};

use crate::rtc::Transmit;

/// The most bytes of a batch: a UDP datagram that the kernel splits.
const MAX_BYTES: usize = 60_000;

/// A batch that grows.
#[derive(Debug)]
pub struct Batch {
    path: Option<(SocketAddr, SocketAddr)>,
    bytes: Vec<u8>,
    size: usize,
    count: usize,
    max_count: usize,
}

/// A batch to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<'a> {
    /// Our address.
    pub source: SocketAddr,
    /// The client's address.
    pub destination: SocketAddr,
    /// The datagrams one after the other.
    pub bytes: &'a [u8],
    /// The size of each but the last one.
    pub size: usize,
    /// How many there are.
    pub count: usize,
}

impl Batch {
    /// An empty batch of at most `max_count` datagrams.
    pub fn new(max_count: usize) -> Self {
        Self {
            path: None,
            bytes: Vec::with_capacity(MAX_BYTES),
            size: 0,
            count: 0,
            max_count: max_count.max(1),
        }
    }

    /// Changes the most datagrams of a batch.
    pub fn limit(&mut self, max_count: usize) {
        self.max_count = max_count.max(1);
    }

    /// Whether the datagram can leave with those that are here.
    pub fn fits(&self, transmit: &Transmit<'_>) -> bool {
        let is_open = self.bytes.len() == self.size * self.count;
        self.path.is_none()
            || self.path == Some((transmit.source, transmit.destination))
                && is_open
                && transmit.contents.len() <= self.size
                && self.count < self.max_count
                && self.bytes.len() + transmit.contents.len() <= MAX_BYTES
    }

    /// Adds a datagram that fits.
    pub fn push(&mut self, transmit: &Transmit<'_>) {
        if self.path.is_none() {
            self.path = Some((transmit.source, transmit.destination));
            self.size = transmit.contents.len();
        }
        self.bytes.extend_from_slice(transmit.contents);
        self.count += 1;
    }

    /// What is to be sent.
    pub fn full(&self) -> Option<Full<'_>> {
        let (source, destination) = self.path?;
        Some(Full { source, destination, bytes: &self.bytes, size: self.size, count: self.count })
    }

    /// Removes all datagrams.
    pub fn clear(&mut self) {
        self.path = None;
        self.bytes.clear();
        self.count = 0;
    }
}

impl Full<'_> {
    /// Sends the batch by `send`, which takes bytes and the size of the datagrams in them, `None` for one datagram. Without
    /// GSO in the system or its network interface, a batch of several fails: its datagrams are sent one by one. Returns how
    /// many the system did not take.
    pub fn send(&self, mut send: impl FnMut(&[u8], Option<usize>) -> io::Result<()>) -> usize {
        match send(self.bytes, (self.count > 1).then_some(self.size)) {
            Ok(()) => 0,
            // A full buffer takes single datagrams no better.
            Err(error) if self.count == 1 || error.kind() == io::ErrorKind::WouldBlock => self.count,
            Err(_) => self.bytes.chunks(self.size.max(1)).filter(|one| send(one, None).is_err()).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    /// The batches that these datagrams, by port and size, leave in: port, size of each, bytes.
    fn batches(datagrams: &[(u16, usize)], max_count: usize) -> Vec<(u16, usize, usize)> {
        let mut batch = Batch::new(max_count);
        let mut out = Vec::new();
        for (port, size) in datagrams {
            let contents = vec![0; *size];
            let transmit = Transmit { source: address(9), destination: address(*port), contents: &contents };
            if !batch.fits(&transmit) {
                out.extend(batch.full().map(|full| (full.destination.port(), full.size, full.bytes.len())));
                batch.clear();
            }
            batch.push(&transmit);
        }
        out.extend(batch.full().map(|full| (full.destination.port(), full.size, full.bytes.len())));
        out
    }

    #[test]
    fn equal_sizes_to_one_client_leave_together_with_a_shorter_end() {
        assert_eq!(
            batches(&[(1, 1200), (1, 1200), (1, 300), (1, 300)], 64),
            [(1, 1200, 2700), (1, 300, 300)]
        );
    }

    #[test]
    fn another_client_or_a_larger_datagram_starts_a_batch() {
        assert_eq!(
            batches(&[(1, 100), (2, 100), (2, 200)], 64),
            [(1, 100, 100), (2, 100, 100), (2, 200, 200)]
        );
    }

    #[test]
    fn a_batch_is_bounded_in_count_and_bytes() {
        assert_eq!(batches(&[(1, 100); 5], 2), [(1, 100, 200), (1, 100, 200), (1, 100, 100)]);
        let large = batches(&[(1, 1400); 100], 64);
        assert!(large.iter().all(|(_, _, bytes)| *bytes <= MAX_BYTES), "{large:?}");
        assert_eq!(large.iter().map(|(_, _, bytes)| bytes).sum::<usize>(), 140_000);
    }

    #[test]
    fn datagrams_leave_one_by_one_where_the_system_splits_no_batches() {
        let mut batch = Batch::new(64);
        for size in [1200, 1200, 300] {
            let contents = vec![size as u8; size];
            batch.push(&Transmit { source: address(9), destination: address(1), contents: &contents });
        }
        let full = batch.full().unwrap();
        let mut sent = Vec::new();
        let mut without_gso = |bytes: &[u8], size: Option<usize>| match size {
            Some(_) => Err(io::Error::from_raw_os_error(5)),
            None => {
                sent.push(bytes.to_vec());
                Ok(())
            }
        };
        assert_eq!(full.send(&mut without_gso), 0);
        assert_eq!(sent, [vec![176; 1200], vec![176; 1200], vec![44; 300]]);
        let mut calls = 0;
        let mut refusing = |kind: io::ErrorKind| {
            full.send(|_, _| {
                calls += 1;
                Err(kind.into())
            })
        };
        assert_eq!((refusing(io::ErrorKind::WouldBlock), refusing(io::ErrorKind::PermissionDenied)), (3, 3));
        assert_eq!(calls, 1 + 4);
        batch.clear();
        batch.limit(1);
        let one = Transmit { source: address(9), destination: address(1), contents: b"one" };
        batch.push(&one);
        assert!(!batch.fits(&one));
    }

    #[test]
    fn nothing_is_sent_of_an_empty_batch() {
        assert_eq!(Batch::new(4).full(), None);
    }
}
