//! Compiles `loader.c` into an archive of the client library's own name, `libfdb_c.a`.
//!
//! `foundationdb-sys` asks the linker for `fdb_c` and finds this archive, which stands on the
//! search path before the system's folders. So neither building nor starting the program needs
//! the library; `load` does. On other systems than those below, it is linked as usual.

fn main() {
    println!("cargo::rerun-if-changed=src/loader.c");
    let target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    // The same condition as `LOADED_LATE` in lib.rs.
    if target("OS") == "linux" && ["x86_64", "aarch64"].contains(&target("ARCH").as_str()) {
        cc::Build::new().file("src/loader.c").warnings_into_errors(true).compile("fdb_c");
        println!("cargo::rustc-link-lib=dl");
    }
}
