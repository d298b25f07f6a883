//! Owns the command line: Envoy's flags, each honoured or refused by name, and a few of ours.

mod flags;
mod told;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind};

pub use flags::FlagError;

use crate::{
    access_log::Flushing,
    config::compile,
    logging::{self, Pattern},
    version,
};

/// An Envoy-compatible L7 edge proxy, built as a company of supervised actors.
#[derive(Clone, Debug, Parser)]
#[command(name = "understudy", disable_version_flag = true, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What else to do than to be a proxy.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Envoy's flags and ours.
    #[command(flatten)]
    pub flags: Flags,
}

/// What else to do than to be a proxy.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print a v2 configuration as the v3 file it becomes, with a note for each rewrite.
    Upgrade {
        /// The file to read.
        file: PathBuf,
    },
    /// Run the front proxy of the well-known tutorial on this machine, with its services and their DNS.
    Demo {
        /// What to do with a demo.
        #[command(subcommand)]
        task: Option<DemoTask>,
        /// Where the demo listens.
        #[command(flatten)]
        ports: DemoPorts,
    },
    /// Check configuration files and print a verdict for each: ok, unsupported or refused.
    Check {
        /// The files to read.
        files: Vec<PathBuf>,
    },
}

/// What to do with a demo.
#[derive(Clone, Debug, Subcommand)]
pub enum DemoTask {
    /// Give services of the running demo so many instances: `service1=3`.
    Scale {
        /// `service1=3` or `service2=1`, or both.
        #[arg(required = true)]
        wanted: Vec<String>,
        /// The running demo's control port.
        #[arg(long, default_value_t = 8002)]
        control_port: u16,
    },
    /// In a container: run the web service on 127.0.0.1:8080 and the sidecar in front of it.
    Service {
        /// The sidecar's flags.
        #[command(flatten)]
        flags: Box<Flags>,
    },
}

/// Where a demo listens; 0 lets the system choose.
#[derive(Args, Clone, Copy, Debug)]
pub struct DemoPorts {
    /// The proxy's port.
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// The proxy's admin port.
    #[arg(long, default_value_t = 8001)]
    pub admin_port: u16,
    /// The demo's own control port.
    #[arg(long, default_value_t = 8002)]
    pub control_port: u16,
    /// Worker threads of the proxy.
    #[arg(long)]
    pub concurrency: Option<u32>,
}

/// The flags of the proxy.
#[derive(Clone, Debug, Parser)]
pub struct Flags {
    /// Path to configuration file.
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config_path: Option<PathBuf>,

    /// Inline YAML configuration, merges with the contents of --config-path.
    #[arg(long, value_name = "YAML")]
    pub config_yaml: Option<String>,

    /// What to do with the configuration: serve it, validate it and exit, or start everything once and
    /// exit (init_only).
    #[arg(long, value_enum, default_value_t = Mode::Serve)]
    pub mode: Mode,

    /// Number of worker threads to run [default: the processors this process may use].
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,

    /// Cluster name of this node.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub service_cluster: String,

    /// Name of this node.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub service_node: String,

    /// Zone of this node.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub service_zone: String,

    /// Log level: trace, debug, info, warning (or warn), error, critical, off.
    #[arg(short = 'l', long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    /// Comma-separated list of log levels of components, such as upstream:debug,config:trace.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub component_log_level: String,

    /// Form of log lines, in spdlog's syntax.
    #[arg(long, value_name = "PATTERN", default_value = logging::DEFAULT_PATTERN)]
    pub log_format: String,

    /// Write control characters in log lines as C-style escapes.
    #[arg(long)]
    pub log_format_escaped: bool,

    /// Path to the log file; stderr without.
    #[arg(long, value_name = "FILE")]
    pub log_path: Option<PathBuf>,

    /// Interval of writing out access logs, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub file_flush_interval_msec: u32,

    /// Bytes of an access log that are kept back at most, in KiB [default: 64].
    #[arg(long, value_name = "KIB")]
    pub file_flush_min_size_kb: Option<u32>,

    /// Drain time in seconds: how long a listener that goes away lets its connections be.
    #[arg(long, value_name = "S", default_value_t = 600)]
    pub drain_time_s: u32,

    /// Drain sequence.
    #[arg(long, value_enum, default_value_t = DrainStrategy::Gradual)]
    pub drain_strategy: DrainStrategy,

    /// Shutdown time of a parent in a hot restart, in seconds; shown, as there is no hot restart yet.
    #[arg(long, value_name = "S", default_value_t = 900)]
    pub parent_shutdown_time_s: u32,

    /// Disable hot restart, which is not there yet.
    #[arg(long)]
    pub disable_hot_restart: bool,

    /// Number that tells processes on one host apart in a hot restart; shown.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub base_id: u32,

    /// Number of the hot restart; only 0 yet.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = flags::first_epoch)]
    pub restart_epoch: u32,

    /// Print the hot restart compatibility version and exit.
    #[arg(long = "hot-restart-version")]
    pub show_hot_restart_version: bool,

    /// Write the address of the admin port to this file.
    #[arg(long, value_name = "FILE")]
    pub admin_address_path: Option<PathBuf>,

    /// Which local address stands for this host.
    #[arg(long, value_enum, default_value_t = IpVersion::V4)]
    pub local_address_ip_version: IpVersion,

    /// Take the number of workers from the processors this process may use, as is done without, too.
    #[arg(long)]
    pub cpuset_threads: bool,

    /// Print version information and exit.
    #[arg(long)]
    pub version: bool,

    /// A tag that every stat has, as NAME:VALUE; may be given more than once.
    #[arg(long, value_name = "NAME:VALUE", value_parser = flags::stats_tag)]
    pub stats_tag: Vec<(String, String)>,

    /// Ours: how long requests in flight may take to end on SIGTERM, in seconds.
    #[arg(long, value_name = "S", default_value_t = 8)]
    pub shutdown_time_s: u32,

    /// Ours: drop what is not supported yet from the configuration, with a warning each; never what
    /// restricts, authenticates or encrypts.
    #[arg(long)]
    pub skip_unsupported: bool,

    /// Ours: let nobody change anything by the admin port.
    #[arg(long)]
    pub admin_read_only: bool,

    /// Ours: a further name by which the admin port may be called, and whose web pages may drive it. IP
    /// addresses, names without a dot and those below .localhost, .local, .internal, .svc, .test and .home.arpa
    /// may always.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub admin_allowed_host: Vec<String>,

    /// Ours: allow POST /actors/kill?name=NAME, which lets an actor panic.
    #[arg(long)]
    pub enable_drills: bool,
}

/// `--mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Serve.
    Serve,
    /// Check the configuration and exit.
    Validate,
    /// Start everything once and exit.
    #[value(name = "init_only")]
    InitOnly,
}

/// `--drain-strategy`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DrainStrategy {
    /// More and more answers tell their connection to end.
    Gradual,
    /// All of them do.
    Immediate,
}

/// `--local-address-ip-version`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IpVersion {
    /// IPv4.
    V4,
}

/// What a command line asks for.
#[derive(Clone, Debug)]
pub enum Asked {
    /// Go on.
    Run(Box<Cli>),
    /// Print this and exit with 0.
    Print(String),
    /// Print this to stderr and exit with 1, as Envoy does.
    Refuse(String),
}

// === impl Cli ===

impl Cli {
    /// Reads the arguments of the process, the program's name among them.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Asked {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let program = arguments.first().map_or_else(
            || "understudy".to_owned(),
            |program| program.to_string_lossy().into_owned(),
        );
        if let Err(error) = flags::refuse_known(&arguments) {
            return Asked::Refuse(format!("error: {error}\n"));
        }
        let parsed = Self::command().try_get_matches_from(&arguments);
        let cli = match parsed.and_then(|matches| Self::from_arg_matches(&matches)) {
            Ok(cli) => cli,
            Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                return Asked::Print(error.render().to_string());
            }
            Err(error) => return Asked::Refuse(error.render().to_string()),
        };
        match () {
            () if cli.flags.version => {
                Asked::Print(format!("\n{program}  version: {}\n\n", version::full()))
            }
            () if cli.flags.show_hot_restart_version => {
                Asked::Print(cli.flags.hot_restart_version().to_owned())
            }
            () => Asked::Run(Box::new(cli)),
        }
    }
}

// === impl Flags ===

impl Default for Flags {
    /// What no flags mean.
    fn default() -> Self {
        Self::parse_from(["understudy"])
    }
}

impl Flags {
    /// Workers to run: at least one.
    pub fn workers(&self) -> usize {
        match self.concurrency {
            Some(workers) => workers.max(1) as usize,
            None => std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        }
    }

    /// How to log.
    ///
    /// # Errors
    ///
    /// [`FlagError`] for a level or a component that is not there.
    pub fn logging(&self) -> Result<logging::Options, FlagError> {
        Ok(logging::Options {
            pattern: Pattern::parse(&self.log_format),
            escaped: self.log_format_escaped,
            path: self.log_path.clone().filter(|path| !path.as_os_str().is_empty()),
            levels: logging::levels(&self.log_level, &self.component_log_level)?,
        })
    }

    /// What tools read of hot restart: Envoy's version, or that it is off.
    pub fn hot_restart_version(&self) -> &'static str {
        if self.disable_hot_restart { "disabled" } else { "11.104" }
    }

    /// When access logs are written out.
    pub fn flushing(&self) -> Flushing {
        let interval = Duration::from_millis(self.file_flush_interval_msec.max(1).into());
        let bytes = self.file_flush_min_size_kb.map(|kib| kib as usize * 1024);
        Flushing { interval, bytes: bytes.unwrap_or(Flushing::default().bytes) }
    }

    /// What a configuration is compiled with.
    pub fn compile_options(&self) -> compile::Options {
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        compile::Options {
            service_cluster: given(&self.service_cluster),
            service_node: given(&self.service_node),
            stats_tags: self.stats_tag.clone(),
            service_zone: given(&self.service_zone),
            skip_unsupported: self.skip_unsupported,
            log_format_given: self.log_format != logging::DEFAULT_PATTERN,
        }
    }

    /// `--drain-time-s`
    pub fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_time_s.into())
    }

    /// Over how long connections are chosen that are told to end.
    pub fn drain_sequence(&self) -> Duration {
        match self.drain_strategy {
            DrainStrategy::Gradual => self.drain_time(),
            DrainStrategy::Immediate => Duration::ZERO,
        }
    }

    /// `--shutdown-time-s`
    pub fn shutdown_time(&self) -> Duration {
        Duration::from_secs(self.shutdown_time_s.into())
    }
}

#[cfg(test)]
mod tests;
