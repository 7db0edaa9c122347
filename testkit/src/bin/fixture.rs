//! Makes `fixtures/regtest`.
fn main() {}
