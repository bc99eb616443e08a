//! Where the server keeps its state.

mod foundationdb;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use crate::store::fdb::FdbOptions;

/// What is allowed, for errors.
const FORMS: &str = "`embedded:PATH`, `memory:`, `remote:HOST:PORT` and `fdb:CLUSTER_FILE?prefix=PREFIX`";

/// A store, as `server.store` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// On local disk, in this directory.
    Embedded(PathBuf),
    /// In memory: gone when the process ends.
    Memory,
    /// Served by an `escapement store` at `HOST:PORT`.
    Remote(String),
    /// A FoundationDB cluster.
    FoundationDb(FdbOptions),
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(path) => write!(f, "embedded:{}", path.display()),
            Self::Memory => f.write_str("memory:"),
            Self::Remote(address) => write!(f, "remote:{address}"),
            Self::FoundationDb(options) => foundationdb::write(options, f),
        }
    }
}

impl StoreUrl {
    /// Reads `embedded:PATH`, `embedded:` (in `data_dir`), `memory:`, `remote:HOST:PORT` or
    /// `fdb:CLUSTER_FILE?prefix=PREFIX`, percent-encoded; docs/foundationdb.md has all settings.
    ///
    /// # Errors
    /// Says what is allowed.
    pub fn parse(text: &str, data_dir: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("embedded", "")) => Ok(Self::Embedded(data_dir.into())),
            Some(("embedded", path)) => Ok(Self::Embedded(path.into())),
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("memory", _)) => Err("nothing follows `memory:`".to_owned()),
            Some(("remote", address)) => parse_remote(address),
            Some(("fdb", rest)) => foundationdb::parse(rest).map(Self::FoundationDb),
            Some((scheme, _)) => Err(format!("`{scheme}:` is no store; the stores are {FORMS}")),
            None => Err(format!("must be one of {FORMS}")),
        }
    }
}

fn parse_remote(address: &str) -> Result<StoreUrl, String> {
    let refuse = |what: &str| Err(format!("{what}; it reads `remote:HOST:PORT`, such as remote:127.0.0.1:7251"));
    let Some((host, port)) = address.rsplit_once(':') else { return refuse("the port is missing") };
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return refuse(&format!("the port is `{port}`, but must be a number from 1 to 65535"));
    }
    let is_name = |host: &str| {
        let letters = |label: &str| label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        host.len() <= 253 && host.split('.').all(|label| !label.is_empty() && label.len() <= 63 && letters(label))
    };
    let is_v6 = || address.parse::<SocketAddr>().is_ok();
    if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
        return refuse(&format!("the address `{host}` needs brackets: [{host}]"));
    }
    if !is_name(host) && !is_v6() {
        return refuse(&format!("`{host}` is neither a host name nor an IP address"));
    }
    Ok(StoreUrl::Remote(address.to_owned()))
}

/// RFC 3986, section 2.1. Says what is malformed.
fn percent_decode(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            out.push(byte);
            rest = after;
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let decoded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(decoded.ok_or("a `%` without two hexadecimal digits; write `%25` for `%`")?);
        rest = &after[2..];
    }
    Ok(out)
}

fn percent_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::fdb::Prefix;

    fn parse(text: &str) -> String {
        match StoreUrl::parse(text, "./data") {
            Ok(url) => format!("{url:?}"),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_is_allowed() {
        let urls = [
            "",
            "embedded",
            "postgres://h/db",
            "memory:x",
            "remote:",
            "remote:localhost",
            "remote::7251",
            "remote:localhost:",
            "remote:localhost:0",
            "remote:localhost:65536",
            "remote:localhost:http",
            "remote://localhost:7251",
            "remote:user@localhost:7251",
            "remote:a b:7251",
            "remote:::1:7251",
            "remote:[::1:7251",
            "fdb:",
            "fdb:?prefix=x",
            "fdb:/etc/fdb.cluster?prefx=x",
            "fdb:/etc/fdb.cluster?prefix=%zz",
            "fdb:/etc/fdb%2",
            "fdb:/etc/fdb.cluster?prefix=a&prefix=b",
            "fdb:/etc/fdb.cluster?prefix=%FFx",
            "fdb:%FF",
            "fdb:/etc/fdb.cluster?tls_key=%FF",
        ];
        let shown: Vec<_> = urls.iter().map(|url| format!("{url}\n    {}", parse(url))).collect();
        assert!(shown.iter().all(|line| line.contains("error: ")), "{shown:#?}");
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn what_makes_sense_is_read() {
        for (url, read) in [
            ("embedded:", r#"Embedded("./data")"#),
            ("embedded:/var/lib/e", r#"Embedded("/var/lib/e")"#),
            ("memory:", "Memory"),
            ("remote:localhost:7251", r#"Remote("localhost:7251")"#),
            ("remote:10.0.0.7:1", r#"Remote("10.0.0.7:1")"#),
            ("remote:[::1]:7251", r#"Remote("[::1]:7251")"#),
            ("remote:store_1.internal:65535", r#"Remote("store_1.internal:65535")"#),
        ] {
            assert_eq!(parse(url), read);
            assert_eq!(StoreUrl::parse(url, "").map(|read| read.to_string()).ok().as_deref(), Some(url));
        }
    }

    #[test]
    fn a_foundationdb_url_names_cluster_file_prefix_and_tls() {
        let read = |url: &str| match StoreUrl::parse(url, "") {
            Ok(StoreUrl::FoundationDb(options)) => {
                assert_eq!(StoreUrl::FoundationDb(options.clone()).to_string(), url);
                options
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(read("fdb:/etc/fdb.cluster"), FdbOptions::new("/etc/fdb.cluster", Prefix::default()));
        let prefix = Prefix::new(&b"a\x00"[..]).unwrap();
        assert_eq!(read("fdb:f%3F?prefix=a%00"), FdbOptions::new("f?", prefix));
        let url =
            "fdb:f?prefix=a/&tls_certificate=/c.pem&tls_key=/k.pem&tls_ca=/a.pem&tls_verify_peers=Check.Valid%3D1";
        let tls = read(url).tls;
        let file = |path: &str| Some(PathBuf::from(path));
        assert_eq!((tls.certificate, tls.key, tls.ca), (file("/c.pem"), file("/k.pem"), file("/a.pem")));
        assert_eq!(tls.verify_peers.as_deref(), Some("Check.Valid=1"));
        assert_eq!(read("fdb:f?tls_ca=/a.pem").tls.certificate, None);
    }

    proptest! {
        #[test]
        fn percent_encoding_round_trips(bytes: Vec<u8>) {
            prop_assert_eq!(percent_decode(&percent_encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = StoreUrl::parse(&text, "");
            for scheme in ["remote:", "fdb:", "fdb:/f?prefix=", "fdb:/f?tls_ca="] {
                let _ = StoreUrl::parse(&format!("{scheme}{text}"), "");
            }
        }
    }
}
