//! The migrations are built in: a new one must build anew.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
