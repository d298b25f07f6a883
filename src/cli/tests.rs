//! Owns the tests of the command line.

use super::*;

fn read(line: &str) -> Asked {
    Cli::read(std::iter::once("understudy").chain(line.split(' ')).map(OsString::from))
}

fn flags(line: &str) -> Flags {
    match read(line) {
        Asked::Run(cli) => cli.flags,
        other => panic!("{other:?}"),
    }
}

fn refusal(line: &str) -> String {
    match read(line) {
        Asked::Refuse(why) => why,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn envoys_flags_are_read() {
    let read = flags(
        "-c front.yaml --concurrency 2 --service-cluster front-proxy -l warning \
         --component-log-level http:debug --drain-time-s 5 --base-id 7 --disable-hot-restart \
         --mode init_only",
    );
    assert_eq!(read.config_path, Some(PathBuf::from("front.yaml")));
    assert_eq!((read.workers(), read.base_id, read.mode), (2, 7, Mode::InitOnly));
    assert_eq!((read.service_cluster.as_str(), read.drain_time_s), ("front-proxy", 5));
    assert_eq!(read.shutdown_time(), Duration::from_secs(8));
    assert!(read.logging().is_ok());
    assert_eq!(flags("--concurrency 0").workers(), 1);
}

#[test]
fn a_flag_that_is_not_done_yet_is_refused_by_name_and_an_unknown_one_gets_a_suggestion() {
    for flag in flags::NOT_YET {
        let why = refusal(&format!("-c a.yaml {} x", flag.name));
        assert!(why.contains(flag.name) && why.contains("not supported yet"), "{why}");
    }
    let why = refusal("--concurency 2");
    assert!(why.contains("--concurrency"), "{why}");
    assert!(refusal("--mode pretend").contains("init_only"));
    assert_eq!(flags("--stats-tag a:b --stats-tag=c:d:e").stats_tag.len(), 2);
    for (tag, told) in
        [("a", "misformatted"), ("a.b:c", "invalid char in 'a.b'"), ("a:", "invalid char in ''")]
    {
        assert!(refusal(&format!("--stats-tag={tag}")).contains(told), "{tag}");
    }
    // What follows `--config-yaml` is a value, whatever it looks like.
    assert_eq!(flags("--config-yaml={}").config_yaml.as_deref(), Some("{}"));
}

#[test]
fn every_flag_of_envoys_is_read_or_refused_by_name() {
    let command = Cli::command();
    let ours: Vec<String> = command
        .get_arguments()
        .filter_map(|argument| argument.get_long())
        .map(|long| format!("--{long}"))
        .collect();
    for flag in flags::ENVOYS {
        let known = ours.iter().any(|own| own == flag)
            || flags::NOT_YET.iter().any(|not_yet| not_yet.name == *flag)
            || *flag == "--help";
        assert!(known, "{flag}");
    }
    for flag in flags::NOT_YET {
        assert!(flags::ENVOYS.contains(&flag.name) && !ours.contains(&flag.name.to_owned()));
    }
}

#[test]
fn the_version_is_shaped_like_envoys() {
    let Asked::Print(text) = read("--version") else { panic!() };
    let line = text.trim().strip_prefix("understudy  version: ").unwrap();
    assert_eq!(line.split('/').count(), 5, "{line}");
}
