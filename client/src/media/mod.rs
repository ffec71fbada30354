//! Sent and received media: encoders, decoders, and measurements.

pub mod encode;
pub mod input;
pub mod meter;
mod payload;
pub mod receive;
pub mod source;
pub mod target;
pub mod timing;
mod track;

use gst::prelude::*;

use crate::exit::Failure;

/// Creates an element; fails if GStreamer does not have it.
pub(crate) fn make(factory: &str) -> Result<gst::Element, Failure> {
    gst::ElementFactory::make(factory).build().map_err(Failure::internal)
}

/// Sets a property if this version of the element has it.
fn set_if_there(element: &gst::Element, name: &str, value: &str) {
    if element.has_property(name) {
        element.set_property_from_str(name, value);
    }
}

/// The first error of a pipeline that was not returned yet.
fn error_of(pipeline: &gst::Pipeline) -> Option<String> {
    let message = pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    match message.view() {
        gst::MessageView::Error(error) => Some(error.error().to_string()),
        _ => None,
    }
}

/// Sets an enum property by nick; the error names the allowed ones.
pub(crate) fn set_nick(element: &gst::Element, property: &str, nick: &str) -> Result<(), String> {
    let class = element
        .find_property(property)
        .and_then(|spec| gst::glib::EnumClass::with_type(spec.value_type()))
        .ok_or_else(|| format!("{} has no {property}", element.name()))?;
    match class.to_value_by_nick(nick) {
        Some(value) => {
            element.set_property_from_value(property, &value);
            Ok(())
        }
        None => {
            let names: Vec<&str> = class.values().iter().map(gst::glib::EnumValue::nick).collect();
            Err(format!("{nick} is none of {}", names.join(", ")))
        }
    }
}
