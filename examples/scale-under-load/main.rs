//! Scales a service up and down under load, and says for each step whether a request failed, how long requests
//! took, and how long it took until new hosts carried traffic and old ones no longer did.
//!
//! By itself it runs `understudy demo`, whose DNS and services it scales; with `--compose` it scales the containers
//! of `docker-compose.yaml` in this folder, which `compose.sh` has brought up.

mod load;
mod town;

use std::{collections::BTreeSet, process::ExitCode, thread::sleep, time::Duration};

use load::{Asked, Load};
use town::Town;

/// How many hosts there are, step by step.
const STEPS: [usize; 5] = [1, 3, 5, 2, 1];

/// What became of one step.
struct Step {
    hosts: usize,
    /// When the service was told, on the load's clock.
    from: Duration,
    until: Duration,
}

fn main() -> ExitCode {
    let (mut rate, mut seconds, mut compose) = (2_000, 8, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|text| text.parse().ok());
        match (arg.as_str(), &mut rate, &mut seconds) {
            ("--compose", ..) => compose = true,
            ("--rate", slot, _) | ("--seconds", _, slot) => match number() {
                Some(given) => *slot = given,
                None => return usage(),
            },
            _ => return usage(),
        }
    }
    let town = if compose { Town::compose() } else { Town::demo() };
    match town.and_then(|town| run(&town, rate, seconds)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("{failed} requests failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: scale-under-load [--rate 2000] [--seconds 8] [--compose]");
    ExitCode::FAILURE
}

/// Gives how many requests failed.
fn run(town: &Town, rate: u64, seconds: u64) -> std::io::Result<usize> {
    println!("{rate} requests/s on {} through {STEPS:?} hosts, {seconds} s each", town.proxy);
    let load = Load::begin(town.proxy, rate);
    let mut steps = Vec::new();
    for hosts in STEPS {
        let from = load.now();
        town.scale(hosts)?;
        sleep(Duration::from_secs(seconds));
        steps.push(Step { hosts, from, until: load.now() });
    }
    let asked = load.end();
    println!(
        "hosts | requests  req/s  failed |   p50 ms   p99 ms   max ms | answered  all after  others until"
    );
    let mut before = BTreeSet::new();
    for step in &steps {
        before = show(step, &asked, &before);
    }
    let failures: Vec<_> = asked.iter().filter_map(|asked| asked.answer.as_ref().err()).collect();
    for why in failures.iter().take(10) {
        println!("failed: {why}");
    }
    Ok(failures.len())
}

/// Prints a step; gives the hosts that were in use at its end.
fn show<'a>(step: &Step, asked: &'a [Asked], before: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    let within: Vec<_> =
        asked.iter().filter(|asked| step.from <= asked.at && asked.at < step.until).collect();
    let mut took: Vec<_> = within.iter().map(|asked| asked.took.as_secs_f64() * 1e3).collect();
    took.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        let at = (took.len() as f64 * share) as usize;
        took.get(at.min(took.len().saturating_sub(1))).copied().unwrap_or(0.0)
    };
    let answered = |asked: &&&'a Asked| asked.answer.is_ok();
    let hosts = |from: Duration| -> BTreeSet<&'a str> {
        let late = within.iter().filter(answered).filter(|asked| asked.at >= from);
        late.filter_map(|asked| asked.answer.as_deref().ok()).collect()
    };
    // Who answers in the last second is in use.
    let in_use = hosts(step.until.saturating_sub(Duration::from_secs(1)));
    let first = |host: &&'a str| within.iter().find(|asked| asked.answer.as_deref() == Ok(*host));
    let news = in_use.iter().filter(|host| !before.contains(*host)).filter_map(first);
    let all_after = news.map(|asked| asked.at - step.from).max();
    let gone = |asked: &&&'a Asked| {
        asked.answer.as_deref().is_ok_and(|host| before.contains(host) && !in_use.contains(host))
    };
    let others_until = within.iter().filter(gone).map(|asked| asked.at - step.from).max();
    let text = |time: Option<Duration>| {
        time.map_or("-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
    };
    println!(
        "{:>5} | {:>8} {:>6.0} {:>7} | {:>8.2} {:>8.2} {:>8.2} | {:>8} {:>10} {:>13}",
        step.hosts,
        within.len(),
        within.len() as f64 / (step.until - step.from).as_secs_f64(),
        within.iter().filter(|asked| asked.answer.is_err()).count(),
        quantile(0.5),
        quantile(0.99),
        took.last().copied().unwrap_or(0.0),
        in_use.len(),
        text(all_after),
        text(others_until),
    );
    in_use
}
