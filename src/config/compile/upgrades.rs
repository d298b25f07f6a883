//! Owns compiling upgrades: those of a connection manager, and what routes say of them.

use super::Compiler;
use crate::config::{
    Message,
    model::upgrade::{CONNECT, ConnectConfig, RouteUpgrade, Upgrade},
};

impl Compiler<'_> {
    /// `HttpConnectionManager.upgrade_configs`
    pub(super) fn upgrades(&mut self, manager: &Message) -> Vec<Upgrade> {
        let mut upgrades: Vec<Upgrade> = Vec::new();
        for config in manager.messages("upgrade_configs") {
            let name = config.text("upgrade_type").unwrap_or_default().to_owned();
            if upgrades.iter().any(|known| known.name.eq_ignore_ascii_case(&name)) {
                let text = format!("multiple upgrade configs with the same name: '{name}'");
                self.error(config.at, &config.path, text, "case does not matter");
            }
            let own = !config.list("filters").is_empty();
            let (filters, router) = self.http_filter_chain(config, "filters");
            upgrades.push(Upgrade {
                name,
                enabled: config.boolean("enabled").unwrap_or(true),
                filters: own.then_some(filters),
                router,
            });
        }
        upgrades
    }

    /// `RouteAction.upgrade_configs`
    pub(super) fn route_upgrades(&mut self, action: &Message) -> Vec<RouteUpgrade> {
        let mut upgrades: Vec<RouteUpgrade> = Vec::new();
        for config in action.messages("upgrade_configs") {
            let name = config.text("upgrade_type").unwrap_or_default().to_owned();
            if upgrades.iter().any(|known| known.name.eq_ignore_ascii_case(&name)) {
                let text = format!("Duplicate upgrade {name}");
                self.error(config.at, &config.path, text, "case does not matter");
            }
            let connect = config.message("connect_config");
            upgrades.push(RouteUpgrade {
                enabled: config.boolean("enabled").unwrap_or(true),
                connect: connect.and_then(|connect| self.connect_config(config, connect, &name)),
                name,
            });
        }
        upgrades
    }

    fn connect_config(
        &mut self,
        config: &Message,
        connect: &Message,
        name: &str,
    ) -> Option<ConnectConfig> {
        if !name.eq_ignore_ascii_case(CONNECT) {
            let (at, path) = (config.at_of("connect_config"), config.path_of("connect_config"));
            match name.eq_ignore_ascii_case("CONNECT-UDP") {
                true => self.unsupported(at, &path, "ending a CONNECT-UDP tunnel here"),
                false => {
                    let text = format!("Non-CONNECT upgrade type {name} has ConnectConfig");
                    self.error(at, &path, text, "");
                }
            }
        }
        // `proxy_protocol_config` is left unread, and so refused.
        Some(ConnectConfig { allow_post: connect.boolean("allow_post").unwrap_or(false) })
    }
}
