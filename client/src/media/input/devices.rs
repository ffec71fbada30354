//! The cameras, microphones and screens of this machine.

use std::{sync::mpsc::channel, thread, time::Duration};

use gst::prelude::*;

/// Providers may wait for servers that do not answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Finds the devices of a class, such as `Video/Source`, within a time limit.
pub(super) fn find(class: &'static str) -> Result<Vec<gst::Device>, String> {
    let (done, found) = channel();
    let work = move || {
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

/// Makes the source of the device with this name, or of the first one.
pub(super) fn open(class: &'static str, name: Option<&str>) -> Result<gst::Element, String> {
    let devices = find(class)?;
    let device = match name {
        None => devices.first().ok_or("none is connected")?,
        Some(name) => {
            let mut names = devices.iter().map(|device| device.display_name().to_string());
            let at = names.position(|it| it == name).or_else(|| {
                devices.iter().position(|device| {
                    device.display_name().to_lowercase().contains(&name.to_lowercase())
                        || place(device).as_deref() == Some(name)
                })
            });
            let none = || format!("none is called {name}: see callbin devices");
            at.and_then(|at| devices.get(at)).ok_or_else(none)?
        }
    };
    device.create_element(None).map_err(|error| error.to_string())
}

/// The device's file or address.
pub(super) fn place(device: &gst::Device) -> Option<String> {
    ["api.v4l2.path", "device.path", "device.string", "node.name"]
        .iter()
        .find_map(|name| property(device, name))
}

pub(super) fn property(device: &gst::Device, name: &str) -> Option<String> {
    device.properties().and_then(|properties| properties.get::<String>(name).ok())
}
