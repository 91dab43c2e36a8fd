//! Finds installed PostgreSQL binaries and runs a private server.
#![doc = include_str!("../README.md")]

mod server;

mod account;
mod binaries;
mod data_directory;
mod initialise;
mod launch;
mod process;
mod stop;
mod take_over;

mod error;
pub mod testing;

pub use binaries::find_binaries;
pub use data_directory::default_data_dir;
pub use error::Error;
pub use server::{LocalPostgres, Options};
