//! The command line: run a proxy, check a configuration, upgrade one.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use understudy::{
    cli::{Asked, Cli, Command, DemoPorts, DemoTask, Flags, Mode},
    config::{
        self, Source,
        compile::{self, AllSlots},
    },
    demo, loader,
    logging::Logging,
    server::{self, ServerError, Settings},
};

fn main() -> ExitCode {
    match Cli::read(std::env::args_os()) {
        Asked::Print(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Asked::Refuse(text) => {
            eprint!("{text}");
            ExitCode::FAILURE
        }
        Asked::Run(cli) => match cli.command {
            Some(Command::Upgrade { file }) => upgrade(&file),
            Some(Command::Check { files }) => check(&files),
            Some(Command::Demo { task: None, ports }) => run_demo(ports),
            Some(Command::Demo {
                task: Some(DemoTask::Scale { wanted, control_port }), ..
            }) => scale_demo(&wanted, control_port),
            Some(Command::Demo { task: Some(DemoTask::Service { flags }), .. }) => {
                run_service(*flags)
            }
            None => run(cli.flags),
        },
    }
}

fn fail(text: &str) -> ExitCode {
    eprintln!("understudy: {text}");
    ExitCode::FAILURE
}

fn run(flags: Flags) -> ExitCode {
    let source = match loader::source(&flags) {
        Ok(source) => source,
        Err(text) => return fail(&text),
    };
    match flags.mode {
        Mode::Serve | Mode::InitOnly => serve(flags, source),
        Mode::Validate => validate(&flags, &source),
    }
}

fn serve(flags: Flags, source: Source) -> ExitCode {
    let options = match flags.logging() {
        Ok(options) => options,
        Err(error) => return fail(&error.to_string()),
    };
    let log_levels = options.levels.clone();
    let log = match Logging::start(options) {
        Ok(log) => log,
        Err(error) => return fail(&error.to_string()),
    };
    let shown = source.clone();
    match server::run(Settings { source, flags, log_levels }, &log) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(ServerError::Config(errors)) => {
            eprint!("{}", errors.render(&shown));
            fail(&format!("{} is refused", shown.name))
        }
        Err(error) => fail(&error.to_string()),
    }
}

/// Runs services, their DNS and the proxy in front of them.
fn run_demo(ports: DemoPorts) -> ExitCode {
    let DemoPorts { port, admin_port, control_port, concurrency } = ports;
    let wanted = demo::Ports { proxy: port, admin: admin_port, control: control_port };
    let open = match demo::open(wanted) {
        Ok(open) => open,
        Err(error) => return fail(&error.to_string()),
    };
    let text = format!(
        "The front proxy listens on port {port}, its admin port is {admin_port}. Try:\n  \
         curl -v localhost:{port}/service/1\n  curl -v localhost:{port}/service/2\n  \
         understudy demo scale service1=3    (control port {})\n  curl localhost:{admin_port}/clusters\n",
        open.control.port()
    );
    // Nobody may be listening; the demo runs all the same.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let flags = Flags {
        concurrency,
        service_cluster: "front-proxy".to_owned(),
        // The tutorial's words for DNS are old ones; there is nobody here to tell.
        component_log_level: "config:error".to_owned(),
        ..Flags::default()
    };
    serve(flags, Source::yaml("configs/demo.yaml", &open.config))
}

fn scale_demo(wanted: &[String], control_port: u16) -> ExitCode {
    let control = std::net::SocketAddr::from(([127, 0, 0, 1], control_port));
    match demo::scale(control, wanted) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.to_string()),
    }
}

/// Runs the tutorial's web service beside its sidecar, as one process of a container.
fn run_service(flags: Flags) -> ExitCode {
    let (ready, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime.and_then(|runtime| {
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], 8080));
            let (_running, end) = tokio::sync::watch::channel(false);
            let service = demo::Service::of_this_host();
            tokio::task::LocalSet::new().block_on(&runtime, service.serve(address, end))
        });
        let _ = ready.send(served);
    });
    // A service that cannot listen says so at once; one that can says nothing.
    match told.recv_timeout(std::time::Duration::from_millis(200)) {
        Ok(Err(error)) => fail(&format!("the service cannot listen on 127.0.0.1:8080: {error}")),
        _ => run(flags),
    }
}

fn validate(flags: &Flags, source: &Source) -> ExitCode {
    if let Err(error) = flags.logging() {
        return fail(&error.to_string());
    }
    match compile::load(source, &flags.compile_options(), &AllSlots::default()) {
        Ok(compiled) => {
            eprint!("{}", compiled.notes.render(source));
            println!("configuration '{}' OK", source.name);
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprint!("{}", errors.render(source));
            fail(&format!("{} is refused", source.name))
        }
    }
}

fn upgrade(path: &Path) -> ExitCode {
    let source = match loader::read(path) {
        Ok(source) => Source { format: config::Format::Yaml, ..source },
        Err(text) => return fail(&text),
    };
    match config::upgrade::upgrade_text(&source) {
        Ok((text, notes)) => {
            eprint!("{}", notes.render(&source));
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprint!("{}", errors.render(&source));
            fail(&format!("{} cannot be upgraded", source.name))
        }
    }
}

/// Prints a verdict for each file: `ok`, `unsupported` (only features we lack) or `refused`; and on
/// stderr how many there are of each.
fn check(files: &[PathBuf]) -> ExitCode {
    let mut counts = BTreeMap::<String, usize>::new();
    for path in files {
        let verdict = match loader::read(path) {
            Err(text) => format!("refused\t{text}"),
            Ok(source) => {
                match compile::load(&source, &compile::Options::default(), &AllSlots::default()) {
                    Ok(_) => "ok".to_owned(),
                    Err(errors) => errors.verdict(),
                }
            }
        };
        println!("{}\t{verdict}", path.display());
        let word = verdict.split('\t').next().unwrap_or_default();
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    let counts: Vec<_> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    eprintln!("{} files: {}", files.len(), counts.join(", "));
    ExitCode::SUCCESS
}
