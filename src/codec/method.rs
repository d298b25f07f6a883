//! Owns the methods that Envoy's HTTP/1 codec knows; any other is refused there.

/// Writes the list once.
macro_rules! methods {
    ($($Name:ident = $text:literal,)*) => {
        /// A request method.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum Method {
            $(#[doc = concat!("`", $text, "`")] $Name,)*
            /// Not read yet.
            #[default]
            Unset,
        }

        impl Method {
            /// As it is written.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Method::$Name => $text,)*
                    Method::Unset => "",
                }
            }

            /// Reads a method; `None` for one that is not known. Case matters (RFC 9110, 9.1).
            #[inline]
            pub fn parse(text: &[u8]) -> Option<Self> {
                match text {
                    b"GET" => Some(Method::Get),
                    b"POST" => Some(Method::Post),
                    $(text if text == $text.as_bytes() => Some(Method::$Name),)*
                    _ => None,
                }
            }
        }
    };
}

methods! {
    Get = "GET",
    Head = "HEAD",
    Post = "POST",
    Put = "PUT",
    Delete = "DELETE",
    Connect = "CONNECT",
    Options = "OPTIONS",
    Trace = "TRACE",
    Patch = "PATCH",
    Copy = "COPY",
    Lock = "LOCK",
    Mkcol = "MKCOL",
    Move = "MOVE",
    Propfind = "PROPFIND",
    Proppatch = "PROPPATCH",
    Search = "SEARCH",
    Unlock = "UNLOCK",
    Bind = "BIND",
    Rebind = "REBIND",
    Unbind = "UNBIND",
    Acl = "ACL",
    Report = "REPORT",
    Mkactivity = "MKACTIVITY",
    Checkout = "CHECKOUT",
    Merge = "MERGE",
    Notify = "NOTIFY",
    Subscribe = "SUBSCRIBE",
    Unsubscribe = "UNSUBSCRIBE",
    Purge = "PURGE",
    Mkcalendar = "MKCALENDAR",
    Link = "LINK",
    Unlink = "UNLINK",
    Source = "SOURCE",
    Query = "QUERY",
}

// === impl Method ===

impl Method {
    /// Length of the longest of them.
    pub const BYTES_MAX: usize = "UNSUBSCRIBE".len();

    /// Whether sending it twice means the same as sending it once (RFC 9110, 9.2.2, and IANA's registry).
    pub fn is_idempotent(self) -> bool {
        !matches!(
            self,
            Method::Post
                | Method::Patch
                | Method::Lock
                | Method::Connect
                | Method::Notify
                | Method::Subscribe
                | Method::Unsubscribe
                | Method::Source
                | Method::Unset
        )
    }

    /// Whether a request without a body says so with `content-length: 0`. Methods that seldom have
    /// one say nothing (RFC 9110, 8.6). Observed: Envoy 1.40 upstream requests.
    pub fn announces_empty_body(self) -> bool {
        !matches!(
            self,
            Method::Get | Method::Head | Method::Delete | Method::Trace | Method::Connect
        )
    }
}
