//! Is there anything to watch and listen with?

use std::{net::TcpStream, os::unix::net::UnixStream};

/// Whether somebody listens where the environment says a display is.
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

/// `host:display.screen`, the host empty for this machine.
fn x_server_listens(name: &str) -> bool {
    let Some((host, rest)) = name.rsplit_once(':') else { return false };
    let number = rest.split('.').next().unwrap_or(rest);
    let Ok(number) = number.parse::<u16>() else { return false };
    if host.is_empty() || host == "unix" {
        return UnixStream::connect(format!("/tmp/.X11-unix/X{number}")).is_ok();
    }
    TcpStream::connect((host, 6000u16.saturating_add(number))).is_ok()
}
