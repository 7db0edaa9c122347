//! Block bytes to messages: in parallel, without state.

pub mod messages;
