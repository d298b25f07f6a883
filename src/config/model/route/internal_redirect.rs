//! Owns what a route says about redirects that the proxy follows itself.

/// `InternalRedirectPolicy`.
#[derive(Clone, Debug)]
pub struct InternalRedirect {
    /// `max_internal_redirects`; Envoy's default is 1.
    pub max: u32,
    /// `redirect_response_codes`; Envoy's default is 302 alone.
    pub statuses: Vec<u16>,
    /// `predicates`: all must accept the target.
    pub predicates: Vec<RedirectPredicate>,
    /// `allow_cross_scheme_redirect`.
    pub cross_scheme: bool,
    /// `response_headers_to_copy`, in lower case.
    pub copied_headers: Vec<String>,
}

/// What a target must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPredicate {
    /// `allow_listed_routes`: a route of one of these names.
    AllowListed(Vec<String>),
    /// `previous_routes`: a route that this one has not led to yet.
    PreviousRoutes,
    /// `safe_cross_scheme`: no plain request becomes an encrypted one.
    SafeCrossScheme,
}
