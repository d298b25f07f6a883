//! Owns compiling trees of matchers (`xds.type.matcher.v3.Matcher`), whatever their actions are.

use std::collections::HashSet;

use super::{Compiler, route::runtime_share};
use crate::{
    config::{
        Message,
        diagnostic::Span,
        message::{AnyValue, Value},
    },
    matcher::{
        HeaderName,
        tree::{
            Branches, Input, MatchMap, Names, OnMatch, Predicate, Prefixes, Range, Ranges, Test,
            Tree,
        },
    },
};

/// Matchers and predicates within each other at most. Envoy reads no JSON that is nested deeper than 100 levels.
const NESTED_MAX: usize = 100;

const IP_RANGES: &str = "xds.type.matcher.v3.IPMatcher";
const SERVER_NAMES: &str = "xds.type.matcher.v3.ServerNameMatcher";
const IP: &str = "envoy.extensions.matching.input_matchers.ip.v3.Ip";
const HASHING: &str =
    "envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing";
const FRACTION: &str =
    "envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction";
const REQUEST_HEADER: &str = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput";

const FILTER_STATE: &str = "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput";

/// Inputs of messages; of queries, trailers and answers nobody's matchers know yet.
const HTTP_INPUTS: &str = "envoy.type.matcher.v3.Http";

const INPUTS_OF_ENVOY: &str = "envoy.extensions.matching.common_inputs.";
const TESTS_OF_ENVOY: &str = "envoy.extensions.matching.input_matchers.";
const TREES_OF_ENVOY: &str = "xds.type.matcher.v3.";

/// Where a tree stands.
pub(super) trait Place {
    /// What its actions are.
    type Action;

    /// Who asks, as Envoy puts it.
    const WHO: &'static str;

    /// Whether it can look at an input.
    fn sees(&self, input: &Input) -> bool;

    /// The action of a type; none where an error was told.
    fn action(&self, compiler: &mut Compiler<'_>, action: &AnyValue) -> Option<Self::Action>;
}

/// The inputs there are, by the end of their type's name.
const INPUTS: [(&str, Input); 12] = [
    ("network.v3.DestinationIPInput", Input::DestinationIp),
    ("network.v3.DestinationPortInput", Input::DestinationPort),
    ("network.v3.SourceIPInput", Input::SourceIp),
    ("network.v3.SourcePortInput", Input::SourcePort),
    ("network.v3.DirectSourceIPInput", Input::DirectSourceIp),
    ("network.v3.SourceTypeInput", Input::SourceType),
    ("network.v3.ServerNameInput", Input::ServerName),
    ("network.v3.TransportProtocolInput", Input::TransportProtocol),
    ("network.v3.ApplicationProtocolInput", Input::ApplicationProtocols),
    ("ssl.v3.UriSanInput", Input::UriSans),
    ("ssl.v3.DnsSanInput", Input::DnsSans),
    ("ssl.v3.SubjectInput", Input::Subject),
];

impl Compiler<'_> {
    /// The matcher in `field`; none where it is not set, or an error was told. What a tree cannot honour is refused for
    /// good: a test that is left out lets through what it should hold up.
    pub(super) fn matcher_tree<P: Place>(
        &mut self,
        of: &Message,
        field: &str,
        place: &P,
    ) -> Option<Tree<P::Action>> {
        let matcher = of.message(field)?;
        let tree = self.tree(matcher, place, 0);
        for unread in matcher.unread() {
            self.refuse_for_good(unread.at, &unread.path, &format!("`{}`", unread.name));
            of.ignore(field, "what is wrong with it was told");
        }
        tree
    }

    /// Refuses a feature by name, whatever may be left out.
    pub(super) fn refuse_for_good(&mut self, at: Span, path: &str, what: &str) {
        let text = format!("{what} is known to Envoy, and not supported by Understudy yet");
        self.error(at, path, text, "say it another way: what decides is never left out");
    }

    fn tree<P: Place>(
        &mut self,
        matcher: &Message,
        place: &P,
        depth: usize,
    ) -> Option<Tree<P::Action>> {
        let below = self.deeper(matcher, depth)?;
        let otherwise = match matcher.message("on_no_match") {
            Some(on) => Some(self.on_match(on, place, below)),
            None => None,
        };
        let branches = if let Some(list) = matcher.message("matcher_list") {
            let mut all = Vec::new();
            for one in list.messages("matchers") {
                let predicate =
                    one.message("predicate").map(|set| self.predicate(set, place, below));
                let on = one.message("on_match").map(|set| self.on_match(set, place, below));
                all.push((predicate, on));
            }
            let whole = all.into_iter().map(|(predicate, on)| Some((predicate??, on??)));
            Branches::List(whole.collect::<Option<_>>()?)
        } else if let Some(tree) = matcher.message("matcher_tree") {
            let input = self.input(tree, place);
            self.map_of(tree, input, place, below)?
        } else {
            Branches::None
        };
        // Only now, so that what is below was read.
        let otherwise = match otherwise {
            Some(on) => Some(on?),
            None => None,
        };
        Some(Tree { branches, otherwise })
    }

    /// `MatcherTree.tree_type`
    fn map_of<P: Place>(
        &mut self,
        tree: &Message,
        input: Option<Input>,
        place: &P,
        depth: usize,
    ) -> Option<Branches<P::Action>> {
        if let Some(map) = tree.message("exact_match_map") {
            let map = self.match_map(map, place, depth)?;
            return Some(Branches::Exact(input?, map));
        }
        if let Some(map) = tree.message("prefix_match_map") {
            let map = self.match_map(map, place, depth)?;
            return Some(Branches::Prefix(input?, Prefixes::new(map)));
        }
        let custom = extension(tree.message("custom_match")?)?;
        match custom.name() {
            IP_RANGES => {
                let ranges = self.ranges_of(custom, place, depth)?;
                Some(Branches::Ranges(input?, ranges))
            }
            SERVER_NAMES => {
                let names = self.names_of(custom, place, depth)?;
                Some(Branches::Names(input?, names))
            }
            _ => {
                self.other_extension(custom, TREES_OF_ENVOY, "kind of matcher tree");
                None
            }
        }
    }

    fn match_map<P: Place>(
        &mut self,
        map: &Message,
        place: &P,
        depth: usize,
    ) -> Option<MatchMap<P::Action>> {
        let mut all = Vec::new();
        for (key, item) in map.map("map") {
            let Value::Message(on) = &item.value else { continue };
            all.push((key.as_bytes().into(), self.on_match(on, place, depth)));
        }
        all.into_iter().map(|(key, on)| Some((key, on?))).collect()
    }

    fn ranges_of<P: Place>(
        &mut self,
        custom: &Message,
        place: &P,
        depth: usize,
    ) -> Option<Ranges<P::Action>> {
        let mut all = Vec::new();
        for set in custom.messages("range_matchers") {
            let ranges = self.ranges(set, "ranges");
            let exclusive = set.boolean("exclusive") == Some(true);
            let on_match = self.custom_on_match(set, place, depth);
            all.push(on_match.map(|on_match| Range { ranges, exclusive, on_match }));
        }
        all.into_iter().collect::<Option<_>>().map(Ranges::new)
    }

    fn names_of<P: Place>(
        &mut self,
        custom: &Message,
        place: &P,
        depth: usize,
    ) -> Option<Names<P::Action>> {
        let (mut names, mut seen, mut whole) = (Names::new(), HashSet::new(), true);
        for set in custom.messages("domain_matchers") {
            for (domain, at) in set.texts("domains") {
                if let Some(text) = wrong_domain(domain) {
                    let hint = "write a whole name, `*.` and its parent, or `*`";
                    self.error(at, &set.path_of("domains"), text, hint);
                } else if !seen.insert(domain) {
                    let text = format!("Duplicate domain in ServerNameMatcher: {domain}");
                    self.error(at, &set.path_of("domains"), text, "keep one of them");
                }
            }
            match self.custom_on_match(set, place, depth) {
                Some(on) => names.add(set.texts("domains").map(|(domain, _)| domain), on),
                None => whole = false,
            }
        }
        whole.then_some(names)
    }

    /// The `on_match` that Envoy 1.40 does not ask for, and ends at its first use for lack of.
    fn custom_on_match<P: Place>(
        &mut self,
        set: &Message,
        place: &P,
        depth: usize,
    ) -> Option<OnMatch<P::Action>> {
        let Some(on) = set.message("on_match") else {
            let hint = "say what is to be done, by `action` or `matcher`";
            self.error(set.at, &set.path, "`on_match` is missing", hint);
            return None;
        };
        self.on_match(on, place, depth)
    }

    fn on_match<P: Place>(
        &mut self,
        on: &Message,
        place: &P,
        depth: usize,
    ) -> Option<OnMatch<P::Action>> {
        if on.boolean("keep_matching") == Some(true) {
            // Observed: Envoy 1.40 refuses it in rules of access, and ends at its first use where chains are chosen.
            let (at, path) = (on.at_of("keep_matching"), on.path_of("keep_matching"));
            let text = "keep_matching is not supported in this context";
            self.error(at, &path, text, "leave it out: the first that matches decides");
        }
        if let Some(matcher) = on.message("matcher") {
            let tree = self.tree(matcher, place, depth)?;
            return Some(OnMatch::Tree(Box::new(tree)));
        }
        let action = on.message("action")?;
        action.ignore("name", "free text; the type decides");
        place.action(self, action.any("typed_config")?).map(OnMatch::Action)
    }

    fn predicate<P: Place>(&mut self, set: &Message, place: &P, depth: usize) -> Option<Predicate> {
        let below = self.deeper(set, depth)?;
        let mut all = |list: &Message| -> Option<Vec<_>> {
            let all = list.messages("predicate");
            let all = all.map(|one| self.predicate(one, place, below)).collect::<Vec<_>>();
            all.into_iter().collect()
        };
        if let Some(list) = set.message("or_matcher") {
            return all(list).map(Predicate::Any);
        }
        if let Some(list) = set.message("and_matcher") {
            return all(list).map(Predicate::All);
        }
        if let Some(not) = set.message("not_matcher") {
            return self.predicate(not, place, below).map(|not| Predicate::Not(Box::new(not)));
        }
        let single = set.message("single_predicate")?;
        let input = self.input(single, place);
        let test = match single.message("value_match") {
            Some(text) => self.text_matcher(text).map(Test::Text),
            None => self.custom_test(extension(single.message("custom_match")?)?),
        };
        Some(Predicate::Single(input?, test?))
    }

    /// `SinglePredicate.custom_match`
    fn custom_test(&mut self, custom: &Message) -> Option<Test> {
        let seed = || custom.number("seed").unwrap_or(0);
        match custom.name() {
            IP => {
                custom.ignore("stat_prefix", "what is no address is not counted");
                Some(Test::Ip(self.ranges(custom, "cidr_ranges")))
            }
            HASHING => {
                let threshold = custom.number("threshold").unwrap_or(0);
                let modulo = custom.number("modulo").unwrap_or(0);
                if threshold > modulo {
                    let text =
                        format!("threshold cannot be greater than modulo: {threshold} > {modulo}");
                    let (at, path) = (custom.at_of("threshold"), custom.path_of("threshold"));
                    self.error(at, &path, text, "remainders are below `modulo`");
                }
                Some(Test::Hash { threshold, modulo, seed: seed() })
            }
            FRACTION => {
                let fraction = custom.message("runtime_fraction")?;
                let share = runtime_share(fraction.message("default_value"));
                let key = fraction.text("runtime_key").unwrap_or_default().to_owned();
                Some(Test::Fraction { share, key, seed: seed() })
            }
            _ => {
                self.other_extension(custom, TESTS_OF_ENVOY, "test of an input");
                None
            }
        }
    }

    /// `input` of a tree or of a predicate.
    fn input<P: Place>(&mut self, of: &Message, place: &P) -> Option<Input> {
        let config = extension(of.message("input")?)?;
        let known = INPUTS
            .iter()
            .find(|(end, _)| config.name().strip_prefix(INPUTS_OF_ENVOY) == Some(*end));
        let input = match config.name() {
            REQUEST_HEADER => {
                Some(Input::Header(HeaderName::new(config.text("header_name").unwrap_or_default())))
            }
            FILTER_STATE => {
                let field = config.text("field").filter(|field| !field.is_empty());
                let key = config.text("key").unwrap_or_default();
                Some(Input::FilterState(key.into(), field.map(Into::into)))
            }
            _ => known.map(|(_, input)| input.clone()),
        };
        match input {
            Some(input) if place.sees(&input) => return Some(input),
            None if !config.name().starts_with(HTTP_INPUTS) => {
                self.other_extension(config, INPUTS_OF_ENVOY, "input of a matcher");
            }
            _ => {
                for set in &config.fields {
                    config.ignore(set.field.name, "the whole input is refused");
                }
                let text = format!("{} cannot match on {}", P::WHO, config.name());
                self.error(config.at, &config.path, text, "look at something else");
            }
        }
        None
    }

    /// Refuses an extension that is none of those that can stand here; Envoy knows those whose names begin so.
    pub(super) fn other_extension(&mut self, config: &Message, known: &str, what: &str) {
        for set in &config.fields {
            config.ignore(set.field.name, "the whole extension is refused");
        }
        let name = config.name();
        match name.starts_with(known) {
            true => self.refuse_for_good(config.at, &config.path, name),
            false => {
                let text = format!("{name} is no {what}");
                self.error(config.at, &config.path, text, "its `@type` says what it is");
            }
        }
    }

    /// One level further down; none where that is too deep.
    fn deeper(&mut self, set: &Message, depth: usize) -> Option<usize> {
        if depth < NESTED_MAX {
            return Some(depth + 1);
        }
        for field in &set.fields {
            set.ignore(field.field.name, "it is refused");
        }
        let text = format!("matchers are nested more than {NESTED_MAX} levels deep");
        self.error(set.at, &set.path, text, "one list can hold many matchers");
        None
    }
}

/// What is in a `TypedExtensionConfig`.
fn extension(set: &Message) -> Option<&Message> {
    set.ignore("name", "free text; the type decides");
    set.any("typed_config").map(|any| &any.message)
}

/// What is wrong with a domain of `ServerNameMatcher`. Observed: Envoy 1.40.
fn wrong_domain(domain: &str) -> Option<String> {
    if domain.is_empty() {
        return Some("Empty domain in ServerNameMatcher".to_owned());
    }
    let rest = domain.strip_prefix("*.").unwrap_or(domain);
    let wrong = match rest {
        "" => true,
        "*" => domain != "*",
        rest => rest.contains('*'),
    };
    wrong.then(|| {
        format!("Invalid wildcard domain format: {domain}. Only '*' and '*.domain' patterns are supported")
    })
}
