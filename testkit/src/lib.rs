//! Drives a real Bitcoin Core in regtest.
