//! The sagas this shop runs. No I/O.
#![doc = include_str!("../README.md")]

pub mod checkout;
pub mod place_order;

pub use checkout::Checkout;
pub use place_order::{PlaceOrder, Receipt};
