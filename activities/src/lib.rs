//! What a saga may do to the world: inventory, orders, payments.
#![doc = include_str!("../README.md")]

// What things are.
pub mod money;
pub mod order;
// How a store is written to, and what it is asked.
mod batch;
pub mod database;
pub mod effect;
pub mod migrate;
pub mod verify;
// The stores: the only SQL.
pub mod inventory_store;
pub mod order_store;
pub mod payment_store;
// Who takes the money.
pub mod payment_gateway;
pub mod payments;
// All of it together.
pub mod shop;
// What a saga does with them, in the order of a checkout.
pub mod charge_payment;
pub mod commit_inventory;
pub mod confirm_order;
pub mod create_order;
pub mod prepare_payment;
pub mod reserve_inventory;
// What a test puts in.
#[cfg(feature = "testing")]
mod planted;

pub use charge_payment::{Charge, ChargePayment, ChargeStage};
pub use commit_inventory::CommitInventory;
pub use confirm_order::ConfirmOrder;
pub use create_order::CreateOrder;
pub use inventory_store::Inventory;
pub use money::{Currency, Money};
pub use order::{Line, OrderId, PricedLine};
pub use order_store::Orders;
pub use payments::Payments;
pub use prepare_payment::{PreparePayment, PreparedPayment};
pub use reserve_inventory::ReserveInventory;
pub use shop::Shop;
