//! Text of peers in GLib values.

use std::ffi::CStr;

use gst::glib::{self, gobject_ffi, translate::ToGlibPtr};

/// The text in a value; `None` if the value holds no string. Bytes that are not UTF-8 are replaced: webrtcbin passes on
/// the bytes of a peer's text unchecked, and GLib's bindings assume that they are UTF-8.
pub fn lossy(value: &glib::Value) -> Option<String> {
    if !value.type_().is_a(glib::Type::STRING) {
        return None;
    }
    // SAFETY: the value holds a string, as checked above; it is borrowed for as long as the value is.
    let text = unsafe { gobject_ffi::g_value_get_string(value.to_glib_none().0) };
    if text.is_null() {
        return None;
    }
    // SAFETY: a GValue's string ends with NUL, and lives until the value does.
    let bytes = unsafe { CStr::from_ptr(text) };
    Some(bytes.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use gst::prelude::*;

    use super::*;

    /// A value with these bytes, as C code makes one.
    fn value(bytes: &CStr) -> glib::Value {
        let mut value = glib::Value::from_type(glib::Type::STRING);
        let raw: *mut gobject_ffi::GValue = glib::translate::ToGlibPtrMut::to_glib_none_mut(&mut value).0;
        // SAFETY: the value is one for strings; the bytes are copied.
        unsafe { gobject_ffi::g_value_set_string(raw, bytes.as_ptr()) };
        value
    }

    #[test]
    fn takes_any_bytes() {
        assert_eq!(lossy(&value(c"h\xc3\xa9llo")).as_deref(), Some("h\u{e9}llo"));
        assert_eq!(lossy(&value(c"\xff\xfe!")).as_deref(), Some("\u{fffd}\u{fffd}!"));
        assert_eq!(lossy(&value(c"")).as_deref(), Some(""));
        assert_eq!(lossy(&None::<String>.to_value()), None);
        assert_eq!(lossy(&7u32.to_value()), None);
    }
}
