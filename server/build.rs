//! The page is part of the binary: a changed page is a changed binary.

fn main() {
    println!("cargo:rerun-if-changed=../www");
}
