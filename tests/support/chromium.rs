//! Owns a headless Chromium, spoken to in its own protocol (CDP) over a pipe: no port, no websocket.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{proxy::folder, wait_for};

const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// How long an answer may take; the first one waits for the browser to come up.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// A browser with one page.
pub struct Chromium {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    asked: u64,
    session: Option<String>,
    /// What the page has told unasked.
    events: Vec<Value>,
    folder: PathBuf,
}

/// Starts a browser; `None`, with a word about it, where there is none. On CI there has to be one.
pub fn chromium() -> Option<Chromium> {
    if let Some(program) = on_the_path() {
        return Some(Chromium::start(&program));
    }
    let why = format!("none of {NAMES:?} is on the PATH (Debian: apt-get install chromium)");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "the home page is not tested: {why}");
    // Past the capture of `println!`, which shows nothing of a test that passes.
    let _ = writeln!(std::io::stderr(), "NOT RUN, the home page in a browser: {why}");
    None
}

fn on_the_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut found = NAMES.iter().flat_map(|name| folders.iter().map(move |at| at.join(name)));
    found.find(|program| program.is_file())
}

/// Reads base64, in which the browser sends what is no text.
fn decoded(base64: &str) -> Vec<u8> {
    let digit = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters = base64.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::new();
    for four in letters.chunks(4) {
        let bits = (0..4).fold(0, |bits, at| {
            bits << 6 | four.get(at).map_or(0, |letter| u32::from(digit(*letter)))
        });
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}

// === impl Chromium ===

impl Chromium {
    fn start(program: &Path) -> Self {
        let folder = folder();
        // It reads commands from file descriptor 3 and answers on 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >&2"])
            .arg(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--hide-scrollbars"])
            .args(["--remote-debugging-pipe", "about:blank"])
            .arg(format!("--user-data-dir={}", folder.display()))
            .env("HOME", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser starts");
        let to = child.stdin.take().expect("its input");
        let answers = BufReader::new(child.stdout.take().expect("its output"));
        let (sender, from) = channel();
        std::thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("CDP is JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let (session, events) = (None, Vec::new());
        let mut browser = Self { child, to, from, asked: 0, session, events, folder };
        let page = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Asks for something and waits for the answer.
    ///
    /// # Panics
    ///
    /// When the browser refuses, or does not answer in time.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser takes commands");
        loop {
            let message = self.from.recv_timeout(ANSWER_WAIT);
            let mut message = message.unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == self.asked {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    /// Goes to an address and waits until the page is there.
    pub fn open(&mut self, url: &str) {
        let went = self.call("Page.navigate", json!({"url": url}));
        assert!(went["errorText"].is_null(), "{url}: {went}");
        self.wait_until("document.readyState === 'complete'");
    }

    /// The value of an expression in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// What an element says.
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.evaluate(&format!("document.querySelector({selector:?})?.innerText ?? ''"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression holds.
    pub fn wait_until(&mut self, expression: &str) {
        wait_for(expression, || (self.evaluate(expression) == true).then_some(()));
    }

    /// Presses a key: `Tab`, `Enter`, `Space` or an arrow.
    pub fn press(&mut self, key: &str) {
        let (key, code, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            "Space" => (" ", 32, " "),
            "ArrowDown" => ("ArrowDown", 40, ""),
            other => panic!("no key {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut params = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                params["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", params);
        }
    }

    /// Types into what has the focus.
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Presses Tab until an element has the focus.
    pub fn tab_to(&mut self, id: &str) {
        for _ in 0..200 {
            if self.evaluate("document.activeElement.id") == id {
                return;
            }
            self.press("Tab");
        }
        panic!("200 times Tab do not lead to #{id}");
    }

    /// Makes the window so large; a phone where it is narrow.
    pub fn resize(&mut self, width: u32, height: u32) {
        let params = json!({"width": width, "height": height, "mobile": width < 500,
            "deviceScaleFactor": if width < 500 { 2 } else { 1 }});
        self.call("Emulation.setDeviceMetricsOverride", params);
    }

    /// Prefers a colour scheme: `light` or `dark`.
    pub fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// A PNG of the window.
    pub fn picture(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"}));
        decoded(answer["data"].as_str().unwrap_or_default())
    }

    /// Errors on the console, exceptions, and what the log has against the page.
    pub fn complaints(&mut self) -> Vec<String> {
        let bad = |event: &&Value| match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => event["params"]["type"] == "error",
            "Log.entryAdded" => event["params"]["entry"]["level"] == "error",
            _ => false,
        };
        self.told().iter().filter(bad).map(Value::to_string).collect()
    }

    /// Where the page has asked for anything.
    pub fn addresses(&mut self) -> Vec<String> {
        let events = self.told().iter();
        let asked = events.filter(|event| event["method"] == "Network.requestWillBeSent");
        asked
            .filter_map(|event| event["params"]["request"]["url"].as_str())
            .map(str::to_owned)
            .collect()
    }

    fn told(&mut self) -> &[Value] {
        while let Ok(event) = self.from.try_recv() {
            self.events.push(event);
        }
        &self.events
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Asked to, it ends with all its processes; its end of the pipe closes with the last of them.
        let close = format!("{}\0", json!({"id": self.asked + 1, "method": "Browser.close"}));
        let _ = self.to.write_all(close.as_bytes());
        let patience = Instant::now() + Duration::from_secs(10);
        let left = || patience.saturating_duration_since(Instant::now());
        while self.from.recv_timeout(left()).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
