#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| callbin_server::fuzz::node(bytes));
