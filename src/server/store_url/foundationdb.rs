//! `fdb:CLUSTER_FILE?prefix=PREFIX&tls_certificate=...`: everything percent-encoded.

use std::{fmt, path::PathBuf};

use super::{percent_decode, percent_encode};
use crate::store::fdb::{FdbOptions, Prefix};

const FORM: &str = "it reads `fdb:CLUSTER_FILE?prefix=PREFIX`, such as fdb:/etc/foundationdb/fdb.cluster";
const SETTINGS: &str = "prefix, tls_certificate, tls_key, tls_ca and tls_verify_peers";

pub(super) fn parse(rest: &str) -> Result<FdbOptions, String> {
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let path = text("the path of the cluster file", path)?;
    if path.is_empty() {
        return Err(format!("the path of the cluster file is missing; {FORM}"));
    }
    let mut options = FdbOptions::new(path, Prefix::default());
    let mut seen = Vec::new();
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let file = |value| text(key, value).map(|path| Some(PathBuf::from(path)));
        match key {
            "prefix" => {
                let prefix = decode("the prefix", value)?;
                options.prefix = Prefix::new(prefix).map_err(|error| error.to_string())?;
            }
            "tls_certificate" => options.tls.certificate = file(value)?,
            "tls_key" => options.tls.key = file(value)?,
            "tls_ca" => options.tls.ca = file(value)?,
            "tls_verify_peers" => options.tls.verify_peers = Some(text(key, value)?),
            _ => return Err(format!("`{key}` is no setting of it; the settings are {SETTINGS}")),
        }
        if seen.contains(&key) {
            return Err(format!("the {key} is given twice; {FORM}"));
        }
        seen.push(key);
    }
    Ok(options)
}

fn decode(what: &str, text: &str) -> Result<Vec<u8>, String> {
    percent_decode(text).map_err(|problem| format!("{what} has {problem}; {FORM}"))
}

fn text(what: &str, value: &str) -> Result<String, String> {
    String::from_utf8(decode(what, value)?).map_err(|_| format!("{what} is not UTF-8; {FORM}"))
}

pub(super) fn write(options: &FdbOptions, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let path = |path: &PathBuf| percent_encode(path.to_string_lossy().as_bytes());
    write!(f, "fdb:{}", path(&options.cluster_file))?;
    let tls = &options.tls;
    let prefix = options.prefix.as_bytes();
    let settings = [
        ("prefix", (!prefix.is_empty()).then(|| percent_encode(prefix))),
        ("tls_certificate", tls.certificate.as_ref().map(path)),
        ("tls_key", tls.key.as_ref().map(path)),
        ("tls_ca", tls.ca.as_ref().map(path)),
        ("tls_verify_peers", tls.verify_peers.as_ref().map(|rules| percent_encode(rules.as_bytes()))),
    ];
    let mut separator = '?';
    for (key, value) in settings {
        if let Some(value) = value {
            write!(f, "{separator}{key}={value}")?;
            separator = '&';
        }
    }
    Ok(())
}
