//! `btkn run`: it serves, answers while it is read from outside, and ends when it is told to.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cli::{KEY, Place, stdout};
use super::mini_chain;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    child: Child,
    url: String,
}

impl Running {
    fn start(place: &Place) -> Running {
        let entity = format!("a={KEY}");
        let options = place.sync_options(&entity);
        let mut command =
            place.command(&[&["run"], options.as_slice(), &["--listen", "127.0.0.1:0", "--json"]].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let url = log
            .find_map(|line| {
                let start = line.find("http://")?;
                line[start..].split(&[',', ' ']).next().map(str::to_owned)
            })
            .expect("it says where it serves");
        // The pipe must not fill up.
        std::thread::spawn(move || log.for_each(drop));
        Running { child, url }
    }

    fn get(&self, path: &str) -> Value {
        let mut response = ureq::get(format!("{}{path}", self.url)).call().unwrap();
        response.body_mut().read_json().unwrap()
    }

    fn wait_for(&self, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.get("/v1/status");
            if done(&status) {
                return status;
            }
            assert!(Instant::now() < end, "{what} did not happen: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sends a signal and waits for the end.
    fn end(&mut self, signal: &str) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        (self.child.wait().unwrap(), asked.elapsed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_serves_what_it_synced_and_stops_when_asked() {
    let place = Place::new();
    let mut running = Running::start(&place);
    let status = running.wait_for("catching up", |status| status["synced"] == true);
    assert_eq!(status["as_of"]["height"], 8);
    let tokens = running.get("/v1/tokens");
    assert_eq!(tokens["tokens"][0]["metadata"]["name"], mini_chain::token().name);
    assert_eq!(running.get("/health/ready")["status"], "ready");

    let dump = place.run(&["dump", "--data-dir", "data"]);
    let dump: Value = serde_json::from_str(&stdout(&dump)).expect("dump reads what run has open");
    assert_eq!(dump["state_hash"], status["as_of"]["state_hash"]);

    let (ended, time) = running.end("-INT");
    assert_eq!(ended.code(), Some(0));
    assert!(time < Duration::from_secs(5), "{time:?}");
    let mut last = String::new();
    BufReader::new(running.child.stdout.take().unwrap()).read_line(&mut last).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&last).unwrap()["height"], 8);
}

#[test]
fn it_follows_block_files_that_grow_and_ends_on_sigterm() {
    let place = Place::new();
    let mut running = Running::start(&place);
    running.wait_for("catching up", |status| status["synced"] == true);
    mini_chain::append(&place.blocks, &mini_chain::blocks(9)[9..]);
    running.wait_for("the next block", |status| status["as_of"]["height"] == 9);
    assert_eq!(running.end("-TERM").0.code(), Some(0));
}

#[test]
fn an_address_in_use_is_told() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let entity = format!("a={KEY}");
    let output =
        place.run(&[&["run"], place.sync_options(&entity).as_slice(), &["--listen", &address]].concat());
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(&address) && text.contains("--listen"), "{text}");
}
