#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| btkn_testkit::fuzz::run("withdrawal", data));
