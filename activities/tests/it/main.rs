//! What the stores and the activities promise, against a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod activities;
mod cut_off;
mod effects;
mod half_open;
mod interleavings;
mod ledger;
mod migrations;
mod orders;
mod statements;
mod stock;
mod support;
mod verify;
