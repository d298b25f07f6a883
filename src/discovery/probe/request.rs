//! Owns the request of an `http_health_check`.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request,
    header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT},
};
use understudy_actors::{plan::ClusterPlan, snapshot::Host};

use super::Body;
use crate::config::model::health_check::{AppendAction, HeaderToAdd, HttpAsks};

/// What a probe is known by. Observed: Envoy 1.40, a request of an `http_health_check`.
pub(super) const AGENT: HeaderValue = HeaderValue::from_static("Envoy/HC");

/// Whom to ask for. Source: `HealthCheckConfig.hostname`, the check's own name for it, or the cluster's.
pub(super) fn authority<'a>(cluster: &'a ClusterPlan, own: &'a String, host: &'a Host) -> &'a str {
    let its = host.endpoint.checked_at.as_ref().map(|at| &at.hostname);
    let all = its.into_iter().chain([own, &cluster.name]);
    all.into_iter().find(|name| !name.is_empty()).map_or("", String::as_str)
}

/// The request of an `http_health_check`, as Envoy writes it.
pub(super) fn request(host: &str, asks: &HttpAsks) -> Request<Body> {
    let HttpAsks { path, method, http2, send, remove, add, .. } = asks;
    let body = Full::new(Bytes::from(send.clone()));
    let mut request = Request::new(Body::Left(body));
    // The configuration was checked for these; a value that slipped through asks for `/`.
    *request.method_mut() = method.parse().unwrap_or_default();
    let uri = match http2 {
        true => format!("http://{host}{path}").parse(),
        false => path.parse(),
    };
    *request.uri_mut() = uri.unwrap_or_default();
    let all: &mut HeaderMap = request.headers_mut();
    if let (false, Ok(host)) = (http2, HeaderValue::from_str(host)) {
        all.insert(HOST, host);
    }
    all.insert(USER_AGENT, AGENT);
    remove.iter().for_each(|name| drop(all.remove(name)));
    add.iter().for_each(|header| self::add(all, header));
    if !send.is_empty() {
        all.insert(CONTENT_LENGTH, HeaderValue::from(send.len()));
    }
    request
}

pub(super) fn add(all: &mut HeaderMap, HeaderToAdd { name, value, action }: &HeaderToAdd) {
    let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
        return;
    };
    match (action, all.get(&name).cloned()) {
        // Observed: Envoy 1.40 joins what is added to the one header of ours.
        (AppendAction::AppendOrAdd, Some(ours)) if name == USER_AGENT => {
            let joined = [ours.as_bytes(), b",", value.as_bytes()].concat();
            all.insert(name, HeaderValue::from_bytes(&joined).unwrap_or(value));
        }
        (AppendAction::AppendOrAdd, _) => drop(all.append(name, value)),
        (AppendAction::AddIfAbsent, Some(_)) | (AppendAction::OverwriteIfExists, None) => {}
        _ => drop(all.insert(name, value)),
    }
}
