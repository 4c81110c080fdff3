//! How the program is linked.

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script by the environment what it builds for"
)]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The loader moves 60,000 addresses at the start. Packed, they are 17 kB instead of 1.4 MB in the file, and in memory, where they would
    // stay. glibc reads that since 2.36, in a static program, too; a linker that does not know it for its machine goes on without.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
