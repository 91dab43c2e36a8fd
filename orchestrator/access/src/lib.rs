//! API keys in the `amends` database.
#![doc = include_str!("../README.md")]

mod commands;
mod keys;

pub use commands::KeysCommand;
pub use keys::{AccessError, AccessKeys, CONNECTIONS_MAX};
