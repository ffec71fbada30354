//! The cameras, microphones and screens of this machine.

use std::{
    fmt::Write,
    sync::{
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::channel,
    },
    thread,
    time::Duration,
};

use callbin_protocol::printable;
use gst::prelude::*;
use serde::Serialize;

/// Providers may wait for servers that do not answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Most searches at a time, with those that hang: one for each source, and a few that are left behind.
const MAX_SEARCHES: usize = 8;

/// The searches under way.
static SEARCHES: Places = Places(AtomicUsize::new(0));

/// One device, as `callbin devices` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Entry {
    /// `camera`, `microphone` or `screen`.
    kind: &'static str,
    name: String,
    /// What to write after `--video` or `--audio`.
    source: String,
}

/// Lists the devices, as a table or as a JSON array.
pub fn list(json: bool) -> Result<String, String> {
    gst::init().map_err(|error| error.to_string())?;
    let mut entries = Vec::new();
    for (kind, class) in [("camera", "Video/Source"), ("microphone", "Audio/Source")] {
        entries.extend(find(class)?.iter().map(|device| entry(kind, device)));
    }
    if let Ok(display) = std::env::var("DISPLAY") {
        let source = format!("screen:{display}");
        entries.push(Entry { kind: "screen", name: format!("X display {display}"), source });
    }
    if json {
        serde_json::to_string(&entries).map_err(|error| error.to_string())
    } else {
        Ok(table(&entries))
    }
}

fn entry(kind: &'static str, device: &gst::Device) -> Entry {
    let name = device.display_name().to_string();
    let file = place(device).filter(|place| place.starts_with("/dev/video"));
    let source = format!("{kind}:{}", file.as_ref().unwrap_or(&name));
    Entry { kind, name, source }
}

fn table(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "no cameras, microphones or screens found".into();
    }
    let width = |text: fn(&Entry) -> &str| {
        entries.iter().map(|entry| printable(text(entry)).chars().count()).max().unwrap_or_default()
    };
    let (kinds, sources) = (width(|entry| entry.kind), width(|entry| &entry.source));
    let mut lines = String::new();
    for Entry { kind, name, source } in entries {
        let (name, source) = (printable(name), printable(source));
        let _ = writeln!(lines, "{kind:kinds$}  {source:sources$}  {name}");
    }
    lines
}

/// Finds the devices of a class, such as `Video/Source`, within a time limit.
fn find(class: &'static str) -> Result<Vec<gst::Device>, String> {
    let place = SEARCHES.take().ok_or("earlier searches for devices do not end")?;
    let (done, found) = channel();
    let work = move || {
        let _place = place;
        let monitor = gst::DeviceMonitor::new();
        monitor.add_filter(Some(class), None);
        let devices = match monitor.start() {
            Ok(()) => monitor.devices().into_iter().collect(),
            Err(_) => Vec::new(),
        };
        monitor.stop();
        let _ = done.send(devices);
    };
    thread::Builder::new().name("devices".into()).spawn(work).map_err(|error| error.to_string())?;
    let mut devices: Vec<gst::Device> =
        found.recv_timeout(LIMIT).map_err(|_| "the search for devices does not end".to_owned())?;
    // The monitors of a sound card's outputs are no microphones.
    devices.retain(|device| property(device, "device.class").is_none_or(|class| class != "monitor"));
    Ok(devices)
}

/// Counts threads that may hang.
#[derive(Debug)]
struct Places(AtomicUsize);

/// A thread's place, free again on drop.
#[derive(Debug)]
struct Place(&'static Places);

impl Places {
    /// `None` if there is none.
    fn take(&'static self) -> Option<Place> {
        let next = |count: usize| (count < MAX_SEARCHES).then_some(count + 1);
        self.0.fetch_update(SeqCst, SeqCst, next).ok().map(|_| Place(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}

/// Makes the source of the device with this name, or of the first one.
pub(super) fn open(class: &'static str, name: Option<&str>) -> Result<gst::Element, String> {
    let devices = find(class)?;
    let device = match name {
        None => devices.first().ok_or("none is connected")?,
        Some(name) => {
            let names = devices.iter().map(|device| device.display_name().to_string());
            let at = position(&names.collect::<Vec<_>>(), name);
            let at = at.or_else(|| devices.iter().position(|it| place(it).as_deref() == Some(name)));
            let none = || format!("none is called {name}: see callbin devices");
            at.and_then(|at| devices.get(at)).ok_or_else(none)?
        }
    };
    device.create_element(None).map_err(|error| error.to_string())
}

/// The position of the name, else of the first one that it is a part of.
fn position(names: &[String], wanted: &str) -> Option<usize> {
    let part = |name: &String| name.to_lowercase().contains(&wanted.to_lowercase());
    names.iter().position(|name| name == wanted).or_else(|| names.iter().position(part))
}

/// The device's file or address.
fn place(device: &gst::Device) -> Option<String> {
    ["api.v4l2.path", "device.path", "device.string", "node.name"]
        .iter()
        .find_map(|name| property(device, name))
}

fn property(device: &gst::Device, name: &str) -> Option<String> {
    device.properties().and_then(|properties| properties.get::<String>(name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_whole_or_in_part() {
        let names = ["Rear Camera 2", "Rear Camera", "Front"].map(String::from);
        assert_eq!(position(&names, "Rear Camera"), Some(1));
        assert_eq!(position(&names, "camera"), Some(0));
        assert_eq!(position(&names, "fRONT"), Some(2));
        assert_eq!(position(&names, "side"), None);
    }

    #[test]
    fn searches_that_hang_are_bounded() {
        static PLACES: Places = Places(AtomicUsize::new(0));
        let hanging: Vec<Place> = std::iter::from_fn(|| PLACES.take()).take(1000).collect();
        assert_eq!(hanging.len(), MAX_SEARCHES);
        assert!(PLACES.take().is_none());
        drop(hanging);
        assert!(PLACES.take().is_some());
    }

    #[test]
    fn the_table_has_a_line_per_device_and_no_control_characters() {
        assert_eq!(table(&[]), "no cameras, microphones or screens found");
        let entry = |kind, name: &str| Entry { kind, name: name.into(), source: format!("{kind}:{name}") };
        let shown = table(&[entry("camera", "A\u{1b}[2J"), entry("microphone", "B")]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(!shown.contains('\u{1b}') && lines[1].starts_with("microphone  microphone:B"), "{shown}");
    }
}
