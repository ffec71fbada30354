//! Detects a display and a sound card.

use std::{
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    sync::mpsc,
    thread,
    time::Duration,
};

/// How long a remote display may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Whether something listens where the environment says a display is.
pub fn has_display() -> bool {
    let wayland = std::env::var("WAYLAND_DISPLAY").ok().filter(|name| !name.is_empty()).is_some_and(|name| {
        let folder = std::env::var("XDG_RUNTIME_DIR").unwrap_or_default();
        UnixStream::connect(std::path::Path::new(&folder).join(name)).is_ok()
    });
    wayland || std::env::var("DISPLAY").is_ok_and(|name| x_server_listens(&name))
}

/// Whether there is a sound card, or a sound server.
pub fn has_sound_card() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::path::Path::new("/dev/snd").exists() || is_set("PULSE_SERVER")
}

/// Parses `host:display.screen`; an empty host means this machine.
fn x_server_listens(name: &str) -> bool {
    let Some((host, rest)) = name.rsplit_once(':') else { return false };
    let number = rest.split('.').next().unwrap_or(rest);
    let Ok(number) = number.parse::<u16>() else { return false };
    if host.is_empty() || host == "unix" {
        return UnixStream::connect(format!("/tmp/.X11-unix/X{number}")).is_ok();
    }
    answers(host, 6000u16.saturating_add(number))
}

/// Runs on a thread of its own, because name lookup has no time limit.
fn answers(host: &str, port: u16) -> bool {
    let (tell, answer) = mpsc::channel();
    let host = host.to_owned();
    let ask = move || {
        let mut found = (host.as_str(), port).to_socket_addrs().into_iter().flatten();
        let _ = tell.send(found.any(|at| TcpStream::connect_timeout(&at, ANSWER_LIMIT).is_ok()));
    };
    let asked = thread::Builder::new().name("display".into()).spawn(ask);
    asked.is_ok() && answer.recv_timeout(ANSWER_LIMIT).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, time::Instant};

    use super::*;

    #[test]
    fn a_display_far_away_is_found_if_it_answers_soon() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let display = listener.local_addr().unwrap().port().checked_sub(6000);
        let display = display.expect("a port of those that are given out");
        assert!(x_server_listens(&format!("127.0.0.1:{display}.0")));
        drop(listener);
        assert!(!x_server_listens(&format!("127.0.0.1:{display}.0")));
        // An address for documentation, where nothing answers.
        let began = Instant::now();
        assert!(!x_server_listens("192.0.2.1:0"));
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}
