//! Owns compiling `VirtualHost.matcher`: a tree of matchers whose actions are routes.

use std::{cell::RefCell, ops::Range};

use super::Around;
use crate::{
    config::{
        Message,
        compile::{Compiler, matcher_tree::Place},
        message::AnyValue,
        model::route::Route,
    },
    matcher::tree::{Branches, Input, Tree},
};

const ROUTE: &str = "envoy.config.route.v3.Route";
const ROUTE_LIST: &str = "envoy.config.route.v3.RouteList";

/// A virtual host whose actions are routes.
struct Routes<'a> {
    around: Around<'a>,
    /// Those of all actions so far.
    all: RefCell<Vec<Route>>,
}

impl Place for Routes<'_> {
    type Action = Range<usize>;
    const WHO: &'static str = "a virtual host";

    /// Observed: Envoy 1.40, each input.
    fn sees(&self, input: &Input) -> bool {
        matches!(input, Input::Header(_) | Input::FilterState(..))
    }

    fn action(&self, compiler: &mut Compiler<'_>, action: &AnyValue) -> Option<Range<usize>> {
        let config = &action.message;
        let routes = match config.name() {
            ROUTE => vec![config],
            ROUTE_LIST => config.messages("routes").collect(),
            _ => {
                compiler.other_extension(config, ROUTE, "route, or list of routes");
                return None;
            }
        };
        let made = routes.into_iter().map(|route| compiler.route(route, &self.around));
        let made = made.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()?;
        let mut all = self.all.borrow_mut();
        let start = all.len();
        all.extend(made);
        Some(start..all.len())
    }
}

impl Compiler<'_> {
    /// `VirtualHost.matcher`, whose routes are added to `routes`.
    pub(super) fn host_matcher(
        &mut self,
        host: &Message,
        around: &Around<'_>,
        routes: &mut Vec<Route>,
    ) -> Option<Tree<Range<usize>>> {
        let set = host.peek("matcher")?;
        if host.peek("routes").is_some() {
            let text = "cannot set both matcher and routes on virtual host";
            self.error(set.key_at, &host.path_of("matcher"), text, "keep one of them");
        }
        // Observed: Envoy 1.40 does not ask for their clusters beforehand.
        let around = Around { clusters: None, ..*around };
        let place = Routes { around, all: RefCell::default() };
        let Some(tree) = self.matcher_tree(host, "matcher", &place) else {
            // Where a part is left out the rest would be for everybody.
            return Some(Tree { branches: Branches::None, otherwise: None });
        };
        routes.append(&mut place.all.into_inner());
        Some(tree)
    }
}
