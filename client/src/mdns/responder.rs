//! Hides our addresses behind mDNS names, as browsers do, and answers questions for these names.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{MAX_MESSAGE, interfaces, message, open, send};
use crate::backoff::local_pause;

/// Most addresses that are hidden.
const MAX_NAMES: usize = 64;
/// Most answers in a second: each goes to everyone in the network.
const MAX_ANSWERS: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// Our names. The thread that answers starts with the first one.
#[derive(Debug, Default)]
pub struct Responder {
    names: Arc<Mutex<Names>>,
}

#[derive(Debug, Default)]
struct Names {
    by_address: BTreeMap<IpAddr, String>,
    is_answering: bool,
}

impl Responder {
    /// The name that stands for this address; `None` if nobody would find it.
    pub fn name_of(&self, address: IpAddr) -> Option<String> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if !names.is_answering {
            let socket = open(&interfaces());
            let socket =
                socket.inspect_err(|error| tracing::warn!("addresses cannot be hidden: {error}")).ok()?;
            let known = self.names.clone();
            let work = move || answer(&socket, &known, |buffer| socket.recv(buffer));
            let spawned = thread::Builder::new().name("mdns".into()).spawn(work);
            names.is_answering = spawned.is_ok();
        }
        if let Some(name) = names.by_address.get(&address) {
            return Some(name.clone());
        }
        let name = fresh_name();
        let fits = names.is_answering && names.by_address.len() < MAX_NAMES;
        fits.then(|| {
            names.by_address.insert(address, name.clone());
            name
        })
    }
}

/// A random UUID (RFC 9562, version 4), which says nothing about us.
fn fresh_name() -> String {
    let id = (rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62)) | (4 << 76) | (2 << 62);
    let hex = format!("{id:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}.local", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

fn answer(socket: &UdpSocket, names: &Mutex<Names>, mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>) {
    let mut buffer = [0; MAX_MESSAGE];
    let (mut since, mut count, mut failures) = (Instant::now(), 0, 0);
    loop {
        let bytes = match receive(&mut buffer) {
            Ok(bytes) => bytes,
            Err(error) => {
                failures += 1;
                tracing::debug!("no mDNS question can be received: {error}");
                thread::sleep(local_pause(failures));
                continue;
            }
        };
        failures = 0;
        if since.elapsed() > SECOND {
            (since, count) = (Instant::now(), 0);
        }
        for name in message::asked(buffer.get(..bytes).unwrap_or_default()) {
            let known = names.lock().unwrap_or_else(PoisonError::into_inner);
            let address =
                known.by_address.iter().find(|(_, it)| it.eq_ignore_ascii_case(&name)).map(|(ip, _)| *ip);
            drop(known);
            let answer = address.and_then(|address| message::answer(&name, address));
            if let Some(answer) = answer.filter(|_| count < MAX_ANSWERS) {
                count += 1;
                interfaces().iter().for_each(|via| send(socket, &answer, *via));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_random_uuids() {
        let name = fresh_name();
        let shape: String = name.chars().map(|c| if c.is_ascii_hexdigit() { 'x' } else { c }).collect();
        assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx.loxxl");
        assert_eq!(&name[14..15], "4");
        assert!("89ab".contains(&name[19..20]), "{name}");
        assert_ne!(name, fresh_name());
    }

    #[test]
    fn questions_are_answered_after_errors() {
        let (name, address) = (fresh_name(), "192.0.2.10".parse().unwrap());
        let by_address = BTreeMap::from([(address, name.clone())]);
        let names = Mutex::new(Names { by_address, is_answering: true });
        let (socket, mut failures) = (open(&interfaces()).unwrap(), 2);
        thread::spawn(move || {
            answer(&socket, &names, |buffer| match failures {
                0 => socket.recv(buffer),
                _ => {
                    failures -= 1;
                    Err(io::ErrorKind::OutOfMemory.into())
                }
            })
        });
        assert_eq!(super::super::resolve(&name, Duration::from_secs(30)), Some(address));
    }

    #[test]
    fn an_address_keeps_its_name_and_the_name_is_found() {
        let (responder, address) = (Responder::default(), "192.0.2.9".parse().unwrap());
        let name = responder.name_of(address).unwrap();
        assert_eq!(responder.name_of(address), Some(name.clone()));
        assert_eq!(super::super::resolve(&name, Duration::from_secs(10)), Some(address));
        let all = (0..1000).filter_map(|n| responder.name_of(std::net::Ipv4Addr::from(n).into())).count();
        assert_eq!(all, MAX_NAMES - 1);
    }
}
