//! Owns what is scaled: the demo of the binary beside this example, or the containers of the folder we are in.

use std::{
    env,
    io::{self, BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long things may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A proxy and the service behind it.
pub(crate) struct Town {
    pub(crate) proxy: SocketAddr,
    kind: Kind,
}

enum Kind {
    Demo { child: Child, control: String },
    Compose,
}

// === impl Town ===

impl Town {
    /// Runs the demo on ports of the system's choice.
    pub(crate) fn demo() -> io::Result<Self> {
        let mut child = understudy()?
            .args(["demo", "--port", "0", "--admin-port", "0", "--control-port", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let said = |pipe: Option<Box<dyn Read + Send>>, before: &'static str| {
            let pipe = pipe.ok_or_else(|| io::Error::other("the demo says nothing"))?;
            let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
            let found = lines.find_map(|line| Some(line.split_once(before)?.1.to_owned()));
            // Read to its end: a pipe that nobody empties would stop the demo.
            std::thread::spawn(move || lines.for_each(drop));
            found.ok_or_else(|| io::Error::other("the demo did not come up"))
        };
        let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let control = said(stdout, "(control port ")?.trim_end_matches(')').to_owned();
        let admin = said(stderr, "admin address: ")?;
        let admin: SocketAddr = admin.parse().map_err(io::Error::other)?;
        let proxy = until(|| {
            let ready = get(admin, "/ready")?.contains("\r\nLIVE");
            let listeners = get(admin, "/listeners")?;
            let address = |line: &str| line.rsplit_once("::")?.1.parse().ok();
            listeners.lines().find_map(address).filter(|_| ready)
        })?;
        Ok(Self { proxy, kind: Kind::Demo { child, control } })
    }

    /// The containers, on the ports that `docker-compose.yaml` gives them.
    pub(crate) fn compose() -> io::Result<Self> {
        let proxy = SocketAddr::from(([127, 0, 0, 1], 8000));
        until(|| get(proxy, "/service/1").filter(|answer| answer.starts_with("HTTP/1.1 200")))?;
        Ok(Self { proxy, kind: Kind::Compose })
    }

    /// Gives the service so many hosts.
    pub(crate) fn scale(&self, hosts: usize) -> io::Result<()> {
        let wanted = format!("service1={hosts}");
        let mut command = match &self.kind {
            Kind::Demo { control, .. } => {
                let mut command = understudy()?;
                command.args(["demo", "scale", &wanted, "--control-port", control]);
                command
            }
            Kind::Compose => {
                let compose = env::var("COMPOSE").unwrap_or_else(|_| "docker compose".to_owned());
                let mut words = compose.split(' ');
                let mut command = Command::new(words.next().unwrap_or("docker"));
                command.args(words).args(["up", "-d", "--no-recreate", "--scale", &wanted]);
                command
            }
        };
        let output = command.stdin(Stdio::null()).output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        if let Kind::Demo { child, .. } = &mut self.kind {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The binary: `UNDERSTUDY`, or the one that was built beside this example.
fn understudy() -> io::Result<Command> {
    if let Some(given) = env::var_os("UNDERSTUDY") {
        return Ok(Command::new(given));
    }
    let own = env::current_exe()?;
    let beside =
        own.parent().and_then(|examples| examples.parent()).map(|at| at.join("understudy"));
    match beside.filter(|beside| beside.exists()) {
        Some(beside) => Ok(Command::new(beside)),
        None => Err(io::Error::other(
            "no understudy beside this example: build it likewise, or say where it is by UNDERSTUDY",
        )),
    }
}

fn until<T>(mut found: impl FnMut() -> Option<T>) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        match found() {
            Some(found) => return Ok(found),
            None if begun.elapsed() > PATIENCE => {
                return Err(io::Error::other(format!("nothing came up within {PATIENCE:?}")));
            }
            None => sleep(Duration::from_millis(50)),
        }
    }
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    io::Write::write_all(&mut stream, request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
