//! RSA keys that OpenSSL generates faster.
//!
//! GStreamer before 1.28 generates an RSA key of 2048 bits for the first dtlsdec of a process, even if each connection
//! then gets a certificate of its own. That key is never used, but the first call waits for it: two primes of 1024 bits
//! take 60 to 500 ms. Three primes of 683 bits (RFC 8017, section 3.1) take a third of that.

use std::{
    ffi::{CStr, c_int, c_void},
    mem, ptr,
    sync::{Mutex, OnceLock, PoisonError},
};

type GetMethod = unsafe extern "C" fn() -> *const c_void;
type SetDefault = unsafe extern "C" fn(*const c_void);
type Duplicate = unsafe extern "C" fn(*const c_void) -> *mut c_void;
type SetKeygen = unsafe extern "C" fn(*mut c_void, Keygen) -> c_int;
type SetMethod = unsafe extern "C" fn(*mut c_void, *const c_void) -> c_int;
/// Key, bits, exponent, callback.
type Keygen = unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, *mut c_void) -> c_int;
/// Key, bits, number of primes, exponent, callback.
type MultiPrime = unsafe extern "C" fn(*mut c_void, c_int, c_int, *mut c_void, *mut c_void) -> c_int;

/// The functions of the OpenSSL that GStreamer has loaded.
struct OpenSsl {
    builtin: GetMethod,
    default: GetMethod,
    set_default: SetDefault,
    set_method: SetMethod,
    multi_prime: MultiPrime,
    /// The built-in method with our `generate`; never freed, because keys may point to it.
    fast: *mut c_void,
}

// SAFETY: `fast` points to an RSA_METHOD that no one changes any more; OpenSSL reads it from any thread.
unsafe impl Send for OpenSsl {}
// SAFETY: see above.
unsafe impl Sync for OpenSsl {}

static OPENSSL: OnceLock<Option<OpenSsl>> = OnceLock::new();
/// Held while the default method is changed.
static CHANGE: Mutex<()> = Mutex::new(());

/// Runs `work`, and lets OpenSSL generate its RSA keys with three primes meanwhile. The effect is on the whole process,
/// so nothing else should create RSA keys at the same time. Without a loaded OpenSSL it only runs `work`.
pub fn with_three_primes<T>(work: impl FnOnce() -> T) -> T {
    let Some(openssl) = OPENSSL.get_or_init(OpenSsl::find) else { return work() };
    let _lock = CHANGE.lock().unwrap_or_else(PoisonError::into_inner);
    let _restore = Restore::after(openssl);
    work()
}

/// Sets the default method back when it is dropped.
struct Restore<'a> {
    openssl: &'a OpenSsl,
    before: *const c_void,
}

impl<'a> Restore<'a> {
    fn after(openssl: &'a OpenSsl) -> Self {
        // SAFETY: both functions take no other state than the pointer to the default method; `fast` is never freed.
        let before = unsafe {
            let before = (openssl.default)();
            (openssl.set_default)(openssl.fast);
            before
        };
        Self { openssl, before }
    }
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        // SAFETY: `before` was the default method, and methods are not freed.
        unsafe { (self.openssl.set_default)(self.before) };
    }
}

/// Generates a key with three primes, or with two where that fails (keys below 1024 bits). The key then has the
/// built-in method: OpenSSL treats it like any other.
unsafe extern "C" fn generate(rsa: *mut c_void, bits: c_int, e: *mut c_void, progress: *mut c_void) -> c_int {
    let Some(Some(openssl)) = OPENSSL.get() else { return 0 };
    // SAFETY: OpenSSL calls this with a valid key, exponent, and callback or null.
    unsafe {
        (openssl.set_method)(rsa, (openssl.builtin)());
        let done = (openssl.multi_prime)(rsa, bits, 3, e, progress);
        if done == 1 { done } else { (openssl.multi_prime)(rsa, bits, 2, e, progress) }
    }
}

impl OpenSsl {
    /// Finds the functions, if OpenSSL 1.1.1 or later is loaded.
    fn find() -> Option<Self> {
        let library = [c"libcrypto.so.3", c"libcrypto.so.1.1"].into_iter().find_map(loaded)?;
        // SAFETY: these are the functions' types in the header openssl/rsa.h.
        unsafe {
            let builtin: GetMethod = mem::transmute(symbol(library, c"RSA_PKCS1_OpenSSL")?);
            let default: GetMethod = mem::transmute(symbol(library, c"RSA_get_default_method")?);
            let set_default: SetDefault = mem::transmute(symbol(library, c"RSA_set_default_method")?);
            let set_method: SetMethod = mem::transmute(symbol(library, c"RSA_set_method")?);
            let multi_prime: MultiPrime = mem::transmute(symbol(library, c"RSA_generate_multi_prime_key")?);
            let duplicate: Duplicate = mem::transmute(symbol(library, c"RSA_meth_dup")?);
            let set_keygen: SetKeygen = mem::transmute(symbol(library, c"RSA_meth_set_keygen")?);
            let fast = duplicate(builtin());
            if fast.is_null() || set_keygen(fast, generate) != 1 {
                return None;
            }
            Some(Self { builtin, default, set_default, set_method, multi_prime, fast })
        }
    }
}

/// A handle for a library, if it is loaded already.
fn loaded(name: &CStr) -> Option<ptr::NonNull<c_void>> {
    // SAFETY: the name ends with NUL; with RTLD_NOLOAD no code of the library runs.
    ptr::NonNull::new(unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) })
}

fn symbol(library: ptr::NonNull<c_void>, name: &CStr) -> Option<ptr::NonNull<c_void>> {
    // SAFETY: the handle is valid and never closed; the name ends with NUL.
    ptr::NonNull::new(unsafe { libc::dlsym(library.as_ptr(), name.as_ptr()) })
}

#[cfg(test)]
mod tests {
    use gst::prelude::*;

    use super::*;

    /// The number of primes of a new key, generated like GStreamer does it.
    fn primes(bits: c_int) -> c_int {
        let library = loaded(c"libcrypto.so.3").or_else(|| loaded(c"libcrypto.so.1.1")).unwrap();
        let find = |name| symbol(library, name).unwrap();
        // SAFETY: these are the functions' types in OpenSSL's headers, and each result is used as they say.
        unsafe {
            let make: unsafe extern "C" fn() -> *mut c_void = mem::transmute(find(c"RSA_new"));
            let make_number: unsafe extern "C" fn() -> *mut c_void = mem::transmute(find(c"BN_new"));
            let set: unsafe extern "C" fn(*mut c_void, u64) -> c_int = mem::transmute(find(c"BN_set_word"));
            let generate: Keygen = mem::transmute(find(c"RSA_generate_key_ex"));
            let extra: unsafe extern "C" fn(*const c_void) -> c_int =
                mem::transmute(find(c"RSA_get_multi_prime_extra_count"));
            let check: unsafe extern "C" fn(*const c_void) -> c_int = mem::transmute(find(c"RSA_check_key"));
            let free: unsafe extern "C" fn(*mut c_void) = mem::transmute(find(c"RSA_free"));
            let free_number: unsafe extern "C" fn(*mut c_void) = mem::transmute(find(c"BN_free"));
            let (rsa, e) = (make(), make_number());
            assert_eq!(set(e, 65537), 1);
            assert_eq!(generate(rsa, bits, e, ptr::null_mut()), 1);
            assert_eq!(check(rsa), 1);
            let primes = 2 + extra(rsa);
            free(rsa);
            free_number(e);
            primes
        }
    }

    #[test]
    fn keys_have_three_primes_only_meanwhile() {
        gst::init().unwrap();
        gst::ElementFactory::find("dtlsdec").unwrap().load().unwrap();
        assert_eq!(with_three_primes(|| (primes(2048), primes(512))), (3, 2));
        assert_eq!(primes(2048), 2, "the default is restored");
        let dtlsdec = with_three_primes(|| gst::ElementFactory::make("dtlsdec").build()).unwrap();
        assert!(dtlsdec.property::<String>("pem").starts_with("-----BEGIN CERTIFICATE-----"));
    }
}
