//! Owns who we are, in the five parts that Envoy prints: revision, version, state of the tree, build and
//! TLS library.

/// Our version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The revision that was built: `UNDERSTUDY_REVISION` at build time, zeros where nobody said.
pub const REVISION: &str = match option_env!("UNDERSTUDY_REVISION") {
    Some(revision) => revision,
    None => "0000000000000000000000000000000000000000",
};

/// Whether the tree was as the revision says.
pub const STATUS: &str = match option_env!("UNDERSTUDY_REVISION") {
    Some(_) => "Clean",
    None => "Distribution",
};

/// How it was built.
pub const BUILD: &str = if cfg!(debug_assertions) { "DEBUG" } else { "RELEASE" };

/// What speaks TLS.
pub const TLS: &str = "rustls";

/// The whole, as `--version` and `/server_info` print it.
pub fn full() -> String {
    [REVISION, VERSION, STATUS, BUILD, TLS].join("/")
}

/// Major, minor and patch.
pub fn numbers() -> [u64; 3] {
    let mut parts = VERSION.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}
