//! What libnice can do, and GStreamer's webrtcbin above it cannot. libnice has no bindings for current GLib crates.
//!
//! - ICE restart (RFC 8839, section 4.4.1.1.1): libnice forgets the peer's candidates and credentials, creates new local
//!   credentials, and keeps using the selected pair until a better one is found. DTLS and media above it do not notice.
//! - The types of the selected candidates, without webrtcbin's `get-stats`.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    io,
    os::fd::BorrowedFd,
    ptr,
    sync::Once,
};

use gst::{
    glib::{self, translate::ToGlibPtr},
    prelude::*,
};

use crate::filter::Filter;

#[link(name = "nice")]
unsafe extern "C" {
    fn nice_agent_restart(agent: *mut c_void) -> c_int;
    fn nice_agent_set_remote_credentials(
        agent: *mut c_void,
        stream: c_uint,
        ufrag: *const c_char,
        password: *const c_char,
    ) -> c_int;
    fn nice_agent_get_local_credentials(
        agent: *mut c_void,
        stream: c_uint,
        ufrag: *mut *mut c_char,
        password: *mut *mut c_char,
    ) -> c_int;
    fn nice_agent_get_sockets(
        agent: *mut c_void,
        stream: c_uint,
        component: c_uint,
    ) -> *mut glib::ffi::GPtrArray;
}

#[link(name = "gio-2.0")]
unsafe extern "C" {
    fn g_socket_get_fd(socket: *mut c_void) -> c_int;
}

/// ICE credentials of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User fragment.
    pub ufrag: String,
    /// Password.
    pub password: String,
}

/// The only stream of a webrtcbin that bundles.
const STREAM: c_uint = 1;
/// The only component of a stream with RTP and RTCP on one transport.
const COMPONENT: c_uint = 1;
/// The property of a `NiceAgent` with the way in which it nominates. It is for construction only.
const NOMINATION: &str = "nomination-mode";

/// Attaches a filter to the sockets of a `NiceAgent`'s stream, counted from 1. Without such a stream, nothing happens.
pub fn filter(agent: &glib::Object, stream: u32, filter: &Filter) -> io::Result<()> {
    if agent.type_().name() != "NiceAgent" {
        return Ok(());
    }
    let object: *mut glib::gobject_ffi::GObject = agent.to_glib_none().0;
    // SAFETY: `agent` is a live NiceAgent, which locks itself.
    let sockets = unsafe { nice_agent_get_sockets(object.cast(), stream, COMPONENT) };
    if sockets.is_null() {
        return Ok(());
    }
    let mut result = Ok(());
    // SAFETY: the array is ours, and `len` is the number of its pointers.
    let length = unsafe { (*sockets).len } as usize;
    for at in 0..length {
        // SAFETY: as above; each is a GSocket that the array owns, and that is open as long as the array.
        let socket = unsafe { BorrowedFd::borrow_raw(g_socket_get_fd(*(*sockets).pdata.add(at))) };
        result = result.and(filter.attach(socket));
    }
    // SAFETY: the array and its references are ours, and nothing of it is used any more.
    unsafe { glib::ffi::g_ptr_array_unref(sockets) };
    result
}

/// Lets a `NiceAgent` nominate a pair of addresses with its first check, not with a second one (RFC 5245, section 8.1.1.2). It does
/// nothing to another object.
pub fn nominate_with_first_check(agent: &glib::Object) {
    static WRITABLE: Once = Once::new();
    let Some(property) = agent.find_property(NOMINATION).filter(|_| agent.type_().name() == "NiceAgent")
    else {
        return;
    };
    WRITABLE.call_once(|| {
        let property: *mut glib::gobject_ffi::GParamSpec = property.to_glib_none().0;
        // SAFETY: the property is there as long as its class, which is never unloaded, and nobody else changes its flags. libnice's
        // setter stores the value under its lock, at any time; the flag only makes GObject refuse to call it.
        unsafe { (*property).flags &= !glib::gobject_ffi::G_PARAM_CONSTRUCT_ONLY };
    });
    agent.set_property_from_str(NOMINATION, "aggressive");
}

/// Restarts ICE on the only stream of a `NiceAgent`, for a peer with new credentials. Returns our new credentials, or
/// `None` if `agent` is no `NiceAgent`, it has no such stream, or the credentials are not valid.
pub fn restart(agent: &glib::Object, remote: &Credentials) -> Option<Credentials> {
    if agent.type_().name() != "NiceAgent" {
        return None;
    }
    let ufrag = CString::new(remote.ufrag.as_str()).ok()?;
    let password = CString::new(remote.password.as_str()).ok()?;
    let object: *mut glib::gobject_ffi::GObject = agent.to_glib_none().0;
    let agent: *mut c_void = object.cast();
    // SAFETY: `agent` is a live NiceAgent, which locks itself; the strings are NUL-terminated and are copied.
    let restarted = unsafe {
        nice_agent_restart(agent) != 0
            && nice_agent_set_remote_credentials(agent, STREAM, ufrag.as_ptr(), password.as_ptr()) != 0
    };
    if restarted { local(agent) } else { None }
}

/// The type of a candidate, as in `a=candidate`, from an argument of a `NiceAgent`'s signal. `None` if it is no
/// `NiceCandidate`.
pub fn candidate_type(candidate: &glib::Value) -> Option<&'static str> {
    if candidate.type_().name() != "NiceCandidate" {
        return None;
    }
    // SAFETY: the value is of a boxed type.
    let candidate = unsafe { glib::gobject_ffi::g_value_get_boxed(candidate.to_glib_none().0) };
    if candidate.is_null() {
        return None;
    }
    // SAFETY: it is a NiceCandidate, owned by the value; its first member is an enum NiceCandidateType.
    let kind = unsafe { candidate.cast::<c_uint>().read() };
    ["host", "srflx", "prflx", "relay"].get(usize::try_from(kind).ok()?).copied()
}

fn local(agent: *mut c_void) -> Option<Credentials> {
    let (mut ufrag, mut password) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: `agent` is a live NiceAgent; both pointers are valid for one write each.
    let known = unsafe { nice_agent_get_local_credentials(agent, STREAM, &raw mut ufrag, &raw mut password) };
    if known == 0 {
        return None;
    }
    Some(Credentials { ufrag: take(ufrag)?, password: take(password)? })
}

/// Copies and frees a string that GLib has allocated for us.
fn take(text: *mut c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: libnice returns NUL-terminated strings, which the caller frees with g_free.
    let owned = unsafe { CStr::from_ptr(text) }.to_str().ok().map(String::from);
    // SAFETY: as above, and `text` is not used any more.
    unsafe { glib::ffi::g_free(text.cast()) };
    owned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_object_is_no_agent() {
        let remote = Credentials { ufrag: "abcd".into(), password: "0123456789012345678901".into() };
        gst::init().expect("GStreamer starts");
        let pipeline = gst::Pipeline::new();
        assert_eq!(restart(pipeline.upcast_ref(), &remote), None);
    }

    #[test]
    fn new_credentials_on_both_sides() {
        gst::init().expect("GStreamer starts");
        let webrtcbin = gst::ElementFactory::make("webrtcbin").build().expect("webrtcbin");
        let ice = webrtcbin.property::<glib::Object>("ice-agent");
        let agent = ice.property::<glib::Object>("agent");
        let remote = Credentials { ufrag: "abcd".into(), password: "0123456789012345678901".into() };
        assert_eq!(restart(&agent, &remote), None, "there is no stream yet");
        webrtcbin.set_property_from_str("bundle-policy", "max-bundle");
        let caps =
            gst::Caps::builder("application/x-rtp").field("media", "audio").field("encoding-name", "OPUS");
        let caps = caps.field("payload", 96i32).field("clock-rate", 48_000i32).build();
        webrtcbin.set_state(gst::State::Ready).expect("READY");
        let direction = gst_webrtc::WebRTCRTPTransceiverDirection::Recvonly;
        let _: gst_webrtc::WebRTCRTPTransceiver =
            webrtcbin.emit_by_name("add-transceiver", &[&direction, &caps]);
        let promise = gst::Promise::new();
        webrtcbin.emit_by_name::<()>("create-offer", &[&None::<gst::Structure>, &promise]);
        promise.wait();
        let first = restart(&agent, &remote).expect("a stream");
        let second = restart(&agent, &remote).expect("a stream");
        assert!(first.ufrag.len() >= 4 && first.password.len() >= 22, "{first:?}");
        assert_ne!(first, second);
        let _ = webrtcbin.set_state(gst::State::Null);
    }
}
