//! Every rule, provoked: each reason and each state has a test that makes it appear in an event line.

mod activation;
mod exits;
mod hostile;
mod manifests;
pub(crate) mod scenario;
mod tokens;
pub(crate) mod vectors;
