//! The text of `--data`: `LABEL=END`, with options after a question mark. Pure.

use std::{path::PathBuf, str::FromStr, time::Duration};

/// The longest label in bytes.
const MAX_LABEL: usize = 64;
/// The most joins: with the one for texts, the channels that callbin takes from one peer.
const MAX_JOINS: usize = 15;
/// The label of the channel for texts.
const CHAT: &str = "chat";
/// The longest and the shortest time of `hold`.
const HOLD: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);

/// A data channel, and what it is joined to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The label of the channel.
    pub label: String,
    /// The other end.
    pub end: End,
    /// Lines as text messages, instead of bytes as binary messages.
    pub text: bool,
    /// Whether messages arrive in order.
    pub ordered: bool,
    /// How long a lost message is sent again.
    pub repeat: Repeat,
    /// Whether only one peer at a time may send to the end.
    pub exclusive: bool,
    /// After this time without a message, the peer's messages have stopped.
    pub hold: Option<Duration>,
}

/// How long a lost message is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Until it arrives.
    Always,
    /// At most this many times.
    Times(u16),
    /// For at most this many milliseconds.
    For(u16),
}

/// What a channel is joined to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Our stdin and stdout.
    Stdio,
    /// A TCP connection to this host and port.
    Tcp(String),
    /// TCP connections to this address, one at a time.
    TcpListen(String),
    /// Datagrams to and from this host and port.
    Udp(String),
    /// Datagrams to this address; replies go to the last sender.
    UdpListen(String),
    /// A connection to this Unix socket.
    Unix(PathBuf),
    /// A serial port.
    Serial {
        /// Its device.
        device: PathBuf,
        /// Bits per second.
        baud: u32,
    },
    /// The stdin and stdout of a command, run by `sh`.
    Exec(String),
}

impl End {
    /// Whether all peers share it. Other ends are opened for each peer.
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Tcp(_) | Self::Unix(_) | Self::Exec(_))
    }

    /// Whether it has messages of its own, so that each of them is one of the channel.
    pub fn has_messages(&self) -> bool {
        matches!(self, Self::Udp(_) | Self::UdpListen(_))
    }
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "stdio" if rest.is_empty() => Ok(Self::Stdio),
            "tcp" => address(rest).map(Self::Tcp),
            "tcp-listen" => address(rest).map(Self::TcpListen),
            "udp" => address(rest).map(Self::Udp),
            "udp-listen" => address(rest).map(Self::UdpListen),
            "unix" if !rest.is_empty() => Ok(Self::Unix(rest.into())),
            "serial" => serial(rest),
            "exec" if !rest.trim().is_empty() => Ok(Self::Exec(rest.into())),
            _ => Err("want stdio, tcp:HOST:PORT, tcp-listen:ADDRESS:PORT, udp:HOST:PORT, \
                      udp-listen:ADDRESS:PORT, unix:PATH, serial:DEVICE@BAUD or exec:COMMAND"
                .into()),
        }
    }
}

fn address(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match parts.map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(_)) => Ok(text.into()),
        _ => Err("want HOST:PORT".into()),
    }
}

fn serial(text: &str) -> Result<End, String> {
    let parts = text.rsplit_once('@').filter(|(device, _)| !device.is_empty());
    let baud = parts.and_then(|(_, baud)| baud.parse().ok()).filter(|baud| (50..=4_000_000).contains(baud));
    match (parts, baud) {
        (Some((device, _)), Some(baud)) => Ok(End::Serial { device: device.into(), baud }),
        _ => Err("want serial:DEVICE@BAUD, as in serial:/dev/ttyUSB0@115200".into()),
    }
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (label, rest) = text.split_once('=').ok_or("want LABEL=END, as in control=tcp:localhost:7000")?;
        check_label(label)?;
        let mut spec = Self {
            label: label.into(),
            end: End::Stdio,
            text: false,
            ordered: true,
            repeat: Repeat::Always,
            exclusive: false,
            hold: None,
        };
        let end = match rest.rsplit_once('?') {
            None => rest,
            Some((end, options)) => match options.split('&').try_for_each(|it| spec.set(it)) {
                Ok(()) => end,
                // The question mark belongs to the command.
                Err(_) if rest.starts_with("exec:") => {
                    return Ok(Self { end: rest.parse()?, ..Self::from_str(&format!("{label}=stdio"))? });
                }
                Err(why) => return Err(why),
            },
        };
        spec.end = end.parse()?;
        Ok(spec)
    }
}

fn check_label(label: &str) -> Result<(), String> {
    let is_fine = (1..=MAX_LABEL).contains(&label.len()) && !label.contains(char::is_control);
    match is_fine {
        true if label == CHAT => Err(format!("the label {CHAT} is that of --send-text")),
        true => Ok(()),
        false => Err(format!("want a label of 1 to {MAX_LABEL} bytes without control characters")),
    }
}

impl Spec {
    fn set(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').map_or((option, None), |(name, it)| (name, Some(it)));
        let number = || value.and_then(|it| it.parse::<u16>().ok()).ok_or(format!("{name}: want a number"));
        match (name, value) {
            ("text", None) => self.text = true,
            ("binary", None) => self.text = false,
            ("unordered", None) => self.ordered = false,
            ("exclusive", None) => self.exclusive = true,
            ("maxRetransmits" | "maxPacketLifeTime", _) if self.repeat != Repeat::Always => {
                return Err("maxRetransmits and maxPacketLifeTime exclude each other".into());
            }
            ("maxRetransmits", _) => self.repeat = Repeat::Times(number()?),
            ("maxPacketLifeTime", _) => self.repeat = Repeat::For(number()?),
            ("hold", Some(value)) => self.hold = Some(hold(value)?),
            _ => {
                return Err(format!(
                    "unknown option {option}: want text, binary, unordered, maxRetransmits=N, \
                     maxPacketLifeTime=MS, exclusive or hold=TIME"
                ));
            }
        }
        Ok(())
    }
}

fn hold(text: &str) -> Result<Duration, String> {
    let time = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(ms), _) => ms.parse().ok().map(Duration::from_millis),
        (None, Some(seconds)) => seconds.parse().ok().map(Duration::from_secs),
        (None, None) => None,
    };
    time.filter(|time| HOLD.contains(time)).ok_or_else(|| "hold: want 10ms to 3600s".into())
}

/// Why these joins cannot be used together, if they cannot.
pub fn conflict(specs: &[Spec]) -> Option<String> {
    if specs.len() > MAX_JOINS {
        return Some(format!("--data: at most {MAX_JOINS} channels"));
    }
    let mut labels: Vec<&str> = specs.iter().map(|spec| &*spec.label).collect();
    labels.sort_unstable();
    let twice = labels.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*a),
        _ => None,
    });
    if let Some(label) = twice {
        return Some(format!("--data: the label {label} is used twice"));
    }
    let stdio = specs.iter().filter(|spec| spec.end == End::Stdio).count();
    (stdio > 1).then(|| "--data: only one channel can be joined to stdio".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> End {
        format!("x={text}").parse::<Spec>().unwrap().end
    }

    #[test]
    fn ends_are_read() {
        assert_eq!(end("stdio"), End::Stdio);
        assert_eq!(end("tcp:localhost:7000"), End::Tcp("localhost:7000".into()));
        assert_eq!(end("tcp:[::1]:7000"), End::Tcp("[::1]:7000".into()));
        assert_eq!(end("tcp-listen:127.0.0.1:0"), End::TcpListen("127.0.0.1:0".into()));
        assert_eq!(end("udp:10.0.0.1:5000"), End::Udp("10.0.0.1:5000".into()));
        assert_eq!(end("udp-listen:0.0.0.0:5000"), End::UdpListen("0.0.0.0:5000".into()));
        assert_eq!(end("unix:/run/x"), End::Unix("/run/x".into()));
        assert_eq!(
            end("serial:/dev/ttyUSB0@115200"),
            End::Serial { device: "/dev/ttyUSB0".into(), baud: 115_200 }
        );
        assert_eq!(end("exec:cat -n"), End::Exec("cat -n".into()));
    }

    #[test]
    fn options_are_read() {
        let spec: Spec = "arm=tcp:a:1?unordered&maxRetransmits=0&exclusive&hold=500ms".parse().unwrap();
        assert!(!spec.ordered && !spec.text && spec.exclusive);
        assert_eq!((spec.repeat, spec.hold), (Repeat::Times(0), Some(Duration::from_millis(500))));
        let spec: Spec = "log=stdio?text&maxPacketLifeTime=40&hold=2s".parse().unwrap();
        assert!(spec.ordered && spec.text && !spec.exclusive);
        assert_eq!((spec.repeat, spec.hold), (Repeat::For(40), Some(Duration::from_secs(2))));
    }

    #[test]
    fn a_question_mark_may_belong_to_a_command() {
        assert_eq!(end("exec:ls a?"), End::Exec("ls a?".into()));
        assert_eq!(end("exec:echo what?now&then"), End::Exec("echo what?now&then".into()));
        let spec: Spec = "x=exec:ls a?b?text".parse().unwrap();
        assert_eq!((spec.end, spec.text), (End::Exec("ls a?b".into()), true));
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for bad in [
            "",
            "x",
            "=stdio",
            "chat=stdio",
            "x=",
            "x=tcp:host",
            "x=tcp::1",
            "x=tcp:host:70000",
            "x=stdio:1",
            "x=exec: ",
            "x=unix:",
            "x=serial:/dev/ttyS0",
            "x=serial:/dev/ttyS0@fast",
            "x=stdio?loud",
            "x=stdio?hold=500",
            "x=stdio?hold=1ms",
            "x=stdio?maxRetransmits",
            "x=stdio?maxRetransmits=1&maxPacketLifeTime=2",
            "a\nb=stdio",
        ] {
            assert!(bad.parse::<Spec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_and_stdio_are_used_once() {
        let specs = |texts: &[&str]| texts.iter().map(|it| it.parse().unwrap()).collect::<Vec<Spec>>();
        assert_eq!(conflict(&specs(&["a=stdio", "b=tcp:a:1", "c=tcp:a:1"])), None);
        assert!(conflict(&specs(&["a=stdio", "b=tcp:a:1", "a=tcp:a:2"])).unwrap().contains("label a"));
        let many: Vec<String> = (0..16).map(|n| format!("a{n}=tcp:a:1")).collect();
        let many: Vec<&str> = many.iter().map(|it| &**it).collect();
        assert!(conflict(&specs(&many)).is_some() && conflict(&specs(&many[1..])).is_none());
        assert!(conflict(&specs(&["a=stdio", "b=stdio"])).unwrap().contains("stdio"));
    }
}
