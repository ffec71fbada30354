//! The UDP socket, read and written in batches.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use mio::net::UdpSocket;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use super::{batch::Batch, local::Local};
use crate::{engine::Wire, rtc::Transmit};

/// The size of the socket's buffers that is asked for: a key frame for some hundred viewers. The system may give less.
const KERNEL_BUFFER: usize = 4 << 20;
/// The longest datagram that is read.
const MAX_DATAGRAM: usize = 1500;

/// Binds a socket. An unspecified IPv6 address takes IPv4, too; without IPv6 in the system, IPv4 alone.
pub fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let open = |address: SocketAddr| {
        let socket = RawSocket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        Ok(std::net::UdpSocket::from(socket))
    };
    match open(address) {
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            open(SocketAddr::from(([0, 0, 0, 0], address.port())))
        }
        result => result,
    }
}

/// The reading half.
#[derive(Debug)]
pub struct Receiver {
    socket: Arc<UdpSocket>,
    state: Arc<UdpSocketState>,
    local: Arc<Local>,
    buffers: Vec<Vec<u8>>,
    metas: Vec<RecvMeta>,
    filled: usize,
}

/// The writing half. Datagrams to one client are collected until another one comes or [`Sender::flush`].
#[derive(Debug)]
pub struct Sender {
    socket: Arc<UdpSocket>,
    state: Arc<UdpSocketState>,
    local: Arc<Local>,
    is_ipv6: bool,
    batch: Batch,
    dropped: u64,
}

/// Makes both halves of a socket.
pub fn split(socket: UdpSocket, local: Local) -> io::Result<(Receiver, Sender)> {
    let is_ipv6 = socket.local_addr()?.is_ipv6();
    let state = Arc::new(UdpSocketState::new(UdpSockRef::from(&socket))?);
    let (socket, local) = (Arc::new(socket), Arc::new(local));
    let buffer = MAX_DATAGRAM * state.gro_segments();
    let receiver = Receiver {
        socket: socket.clone(),
        state: state.clone(),
        local: local.clone(),
        buffers: vec![vec![0; buffer]; BATCH_SIZE],
        metas: vec![RecvMeta::default(); BATCH_SIZE],
        filled: 0,
    };
    let batch = Batch::new(state.max_gso_segments());
    Ok((receiver, Sender { socket, state, local, is_ipv6, batch, dropped: 0 }))
}

impl Receiver {
    /// Reads what is there, up to one batch. False: nothing is there any more.
    pub fn read(&mut self) -> bool {
        let mut slices: Vec<IoSliceMut<'_>> = self.buffers.iter_mut().map(|it| IoSliceMut::new(it)).collect();
        let result = self.state.recv(UdpSockRef::from(&*self.socket), &mut slices, &mut self.metas);
        self.filled = *result.as_ref().unwrap_or(&0);
        match result {
            Ok(_) => true,
            // An ICMP error of an earlier datagram says nothing about those that are left.
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// The datagrams of the latest [`Self::read`]: the client's address, our candidate, the contents.
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, SocketAddr, &[u8])> {
        self.metas.iter().zip(&self.buffers).take(self.filled).flat_map(|(meta, buffer)| {
            let source = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
            let destination = self.local.destination(meta.dst_ip.map(|ip| ip.to_canonical()), source.ip());
            let bytes = buffer.get(..meta.len).unwrap_or_default();
            let all = bytes.chunks(meta.stride.max(1));
            all.filter_map(move |datagram| Some((source, destination?, datagram)))
        })
    }
}

impl Sender {
    /// Sends what is collected. A datagram that the system does not take is dropped: the client asks for it again.
    pub fn flush(&mut self) {
        let Some(full) = self.batch.full() else { return };
        let destination = match full.destination {
            SocketAddr::V4(to) if self.is_ipv6 => {
                SocketAddr::new(IpAddr::V6(to.ip().to_ipv6_mapped()), to.port())
            }
            to => to,
        };
        let src_ip = self.local.source(full.source);
        let dropped = full.send(|contents, segment_size| {
            let transmit = quinn_udp::Transmit { destination, ecn: None, contents, segment_size, src_ip };
            self.state.try_send(UdpSockRef::from(&*self.socket), &transmit)
        });
        self.dropped += dropped as u64;
        self.batch.clear();
        // The system may turn out to split no batches.
        self.batch.limit(self.state.max_gso_segments());
    }

    /// The datagrams that the system did not take.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Wire for Sender {
    fn send(&mut self, transmit: Transmit<'_>) {
        if !self.batch.fits(&transmit) {
            self.flush();
        }
        self.batch.push(&transmit);
    }
}
