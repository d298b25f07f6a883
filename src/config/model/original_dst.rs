//! Owns the compiled options of `ORIGINAL_DST` clusters: what says where a request was meant to go.

/// `OriginalDstLbConfig`. Beside what stands here, the client's connection says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginalDst {
    /// `metadata_key`: what was noted of the connection, which comes first.
    pub metadata: Option<MetadataKey>,
    /// `http_header_name`, in lower case, which comes second; with `use_http_header` alone Envoy's own.
    pub header: Option<Vec<u8>>,
    /// `upstream_port_override`: whatever says it, the port is this one.
    pub port: Option<u16>,
}

/// `MetadataKey`: a place in dynamic metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataKey {
    /// `key`: the namespace.
    pub key: String,
    /// `path`: from there on.
    pub path: Vec<String>,
}

// === impl MetadataKey ===

impl MetadataKey {
    /// What stands there.
    pub fn find<'m>(&self, metadata: &'m serde_json::Value) -> Option<&'m serde_json::Value> {
        let namespace = metadata.get(&self.key)?;
        self.path.iter().try_fold(namespace, |found, key| found.get(key))
    }
}
