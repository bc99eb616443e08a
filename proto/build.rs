//! Compiles the .proto files with protox, so that no protoc need be installed.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

const SERVICES: [&str; 5] = [
    "escapement/v1/common.proto",
    "escapement/v1/task_service.proto",
    "escapement/v1/schedule_service.proto",
    "escapement/v1/worker_service.proto",
    "escapement/v1/admin_service.proto",
];
const STORE: [&str; 1] = ["escapement/store/v1/store.proto"];
const RECORDS: [&str; 1] = ["escapement/records/v1/records.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=escapement");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    // The store's wire is no part of the public API, nor of its reflection.
    for (package, files) in [("escapement.v1", SERVICES.as_slice()), ("escapement.store.v1", STORE.as_slice())] {
        let descriptors = protox::compile(files, ["."])?;
        let path = out.join(format!("{package}.bin"));
        fs::write(&path, descriptors.encode_to_vec())?;
        tonic_build::configure()
            .file_descriptor_set_path(&path)
            .skip_protoc_run()
            // Ordered maps: the same message encodes to the same bytes.
            .btree_map(["."])
            // Payloads are shared, never copied, on their way from the wire to the store.
            .bytes(["."])
            .compile_protos(files, &["."])?;
    }

    let descriptors = protox::compile(RECORDS, ["."])?;
    let path = out.join("escapement.records.v1.bin");
    fs::write(&path, descriptors.encode_to_vec())?;
    let mut records = prost_build::Config::new();
    records
        .file_descriptor_set_path(&path)
        .skip_protoc_run()
        .btree_map(["."])
        .bytes(["."])
        .compile_protos(&RECORDS, &["."])?;
    Ok(())
}
