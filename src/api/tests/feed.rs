//! The feed over HTTP: a consumer that is cut off at any moment, and a server that is stopped and started
//! while its chain is reorganised.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Fixture;
use crate::api::feed::tests::{Applied, World};
use crate::api::{App, Limits, serve};
use crate::stop::Stop;
use crate::sync::status::{Phase, SyncStatus};

/// A server over the store of a world.
struct Server {
    address: SocketAddr,
    status: watch::Sender<SyncStatus>,
    stop: Stop,
    serving: JoinHandle<()>,
    runtime: Runtime,
}

impl Server {
    fn start(world: &World, limits: Limits) -> Server {
        let runtime = Runtime::new().unwrap();
        let (status, progress) = watch::channel(SyncStatus::starting());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), Stop::new());
        let app = App::new(Arc::clone(&world.store), progress, limits);
        let serving = runtime.spawn(serve(listener, app, stop.clone()));
        let server = Server { address, status, stop, serving, runtime };
        server.phase(Phase::Following);
        server
    }

    fn phase(&self, phase: Phase) {
        self.status.send_modify(|status| status.phase = phase);
    }

    fn end(self) {
        self.stop.request();
        self.runtime.block_on(self.serving).unwrap();
        self.runtime.shutdown_timeout(Duration::from_secs(10));
    }
}

/// Numbers that look random, the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A consumer with what it has stored, cursor and all, in one place.
#[derive(Default)]
struct Consumer {
    applied: Vec<Applied>,
    cursor: Option<String>,
    rollbacks: usize,
}

impl Consumer {
    /// What a transaction of it does.
    fn store(&mut self, item: &Value) {
        let hash = item["block_hash"].as_str().unwrap().parse().unwrap();
        for event in item["events"].as_array().unwrap() {
            let index = u32::try_from(event["index"].as_u64().unwrap()).unwrap();
            let event: Applied = (hash, index, event["line"].as_str().unwrap().to_owned());
            match item["type"].as_str() {
                Some("event") => self.applied.push(event),
                Some("rollback") => {
                    assert_eq!(self.applied.pop(), Some(event), "the last one is taken back first");
                    self.rollbacks += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        self.cursor = Some(item["cursor"].as_str().unwrap().to_owned());
    }

    /// Reads a page and is cut off after some items of it; whether there may be more.
    fn page(&mut self, address: SocketAddr, limit: u64, items: usize) -> Option<bool> {
        let cursor = self.cursor.as_deref().map_or(String::new(), |cursor| format!("&cursor={cursor}"));
        let url = format!("http://{address}/v1/events?limit={limit}{cursor}");
        let mut answer = agent(Duration::from_secs(5)).get(url).call().ok()?;
        assert_ne!(answer.status(), 410, "the place is known");
        let page: Value = answer.body_mut().read_json().ok().filter(|_| answer.status() == 200)?;
        let all = page["items"].as_array().unwrap();
        all.iter().take(items).for_each(|item| self.store(item));
        if items < all.len() {
            return Some(true);
        }
        self.cursor = Some(page["next_cursor"].as_str().unwrap().to_owned());
        page["more"].as_bool()
    }

    /// Follows a stream for a while, or for so many items, or until the server ends it.
    fn stream(&mut self, address: SocketAddr, time: Duration, mut items: usize) {
        let mut request = agent(time).get(format!("http://{address}/v1/events/stream"));
        if let Some(cursor) = &self.cursor {
            request = request.header("Last-Event-ID", cursor);
        }
        let Ok(mut answer) = request.call() else { return };
        assert_ne!(answer.status(), 410, "the place is known");
        let (mut id, mut data) = (None, None);
        for line in BufReader::new(answer.body_mut().as_reader()).lines() {
            let Ok(line) = line else { return };
            if let Some(text) = line.strip_prefix("id: ") {
                id = Some(text.to_owned());
            } else if let Some(text) = line.strip_prefix("data: ") {
                data = Some(text.to_owned());
            } else if line.is_empty() {
                match data.take() {
                    Some(data) => {
                        let item: Value = serde_json::from_str(&data).unwrap();
                        assert!(item["error"].is_null(), "{item}");
                        self.store(&item);
                        assert_eq!(self.cursor, id);
                        items -= 1;
                    }
                    None => self.cursor = id.take().or(self.cursor.take()),
                }
                if items == 0 {
                    return;
                }
            }
        }
    }
}

fn agent(time: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(time)).http_status_as_error(false);
    config.build().into()
}

/// Does to the chain what may happen to it, while it is served.
fn disturb(world: &mut World, server: &Server, random: &mut Random) {
    let depth = 1 + random.below(5) as usize;
    match random.below(10) {
        0 => drop(world.undo(depth)),
        1 => {
            let blocks = world.undo(depth);
            world.redo(blocks);
        }
        2 => {
            server.phase(Phase::Reorganising);
            world.start_over(depth);
            server.phase(Phase::Following);
        }
        _ => world.block(random.below(4) as u8),
    }
}

#[test]
fn every_event_is_stored_once_whatever_happens_to_the_server_the_chain_and_the_consumer() {
    let mut world = World::new();
    world.block(2);
    let mut server = Server::start(&world, Limits::default());
    let (address, done) = (Arc::new(Mutex::new(server.address)), Arc::new(AtomicBool::new(false)));
    let (where_to, finished) = (Arc::clone(&address), Arc::clone(&done));
    let consumer = std::thread::spawn(move || {
        let (mut consumer, mut random) = (Consumer::default(), Random(1));
        while !finished.load(Ordering::SeqCst) {
            let (address, items) = (*where_to.lock().unwrap(), 1 + random.below(6) as usize);
            if random.below(3) == 0 {
                consumer.page(address, 1 + random.below(8), items);
            } else {
                consumer.stream(address, Duration::from_millis(1 + random.below(120)), items);
            }
        }
        consumer
    });
    let (mut random, started) = (Random(2), Instant::now());
    for step in 0..400 {
        disturb(&mut world, &server, &mut random);
        std::thread::sleep(Duration::from_millis(random.below(12)));
        if step % 80 == 79 {
            server.end();
            world = world.restart();
            server = Server::start(&world, Limits::default());
            *address.lock().unwrap() = server.address;
        }
    }
    done.store(true, Ordering::SeqCst);
    let mut consumer = consumer.join().unwrap();
    while consumer.page(server.address, 7, usize::MAX).unwrap() {}
    assert_eq!(consumer.applied, world.events(), "after {:?}", started.elapsed());
    assert!(consumer.rollbacks > 5, "only {} rollbacks were met", consumer.rollbacks);
    // And whoever begins now gets all of it.
    let mut late = Consumer::default();
    late.stream(server.address, Duration::from_secs(10), world.events().len());
    assert_eq!(late.applied, world.events());
    server.end();
}

#[test]
fn a_stream_outlives_the_time_for_a_request_and_ends_with_the_server() {
    let mut world = World::new();
    world.block(1);
    let limits = Limits { request_time: Duration::from_millis(50), streams: 1, ..Limits::default() };
    let server = Server::start(&world, limits);
    let address = server.address;
    let follower = std::thread::spawn(move || {
        let mut consumer = Consumer::default();
        consumer.stream(address, Duration::from_secs(20), usize::MAX);
        consumer.applied.len()
    });
    std::thread::sleep(Duration::from_millis(300));
    world.block(2);
    let mut second =
        agent(Duration::from_secs(5)).get(format!("http://{address}/v1/events/stream")).call().unwrap();
    let error: Value = second.body_mut().read_json().unwrap();
    assert_eq!((second.status().as_u16(), &error["error"]["code"]), (503, &"too_many_streams".into()));
    std::thread::sleep(Duration::from_millis(300));
    let stopped = Instant::now();
    server.end();
    assert_eq!(follower.join().unwrap(), 3, "events before and after the time for a request");
    assert!(stopped.elapsed() < Duration::from_secs(2), "{:?}", stopped.elapsed());
}

#[tokio::test]
async fn the_feed_of_the_vectors_says_what_each_line_says() {
    let fixture = Fixture::new(super::BLOCKS);
    let page = fixture.ok("/v1/events").await;
    let lines: Vec<&str> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["events"][0]["line"].as_str().unwrap())
        .collect();
    let blocks = fixture.chain["expected"].as_array().unwrap().iter().take(super::BLOCKS);
    let expected: Vec<&str> = blocks
        .flat_map(|block| block["events"].as_array().unwrap())
        .map(|line| line.as_str().unwrap())
        .collect();
    assert_eq!(lines, expected);
    for item in page["items"].as_array().unwrap() {
        let event = &item["events"][0];
        let words: Vec<&str> = event["line"].as_str().unwrap().split(' ').collect();
        assert_eq!(event["kind"], words[0]);
        let fields = event.as_object().unwrap().values().filter_map(Value::as_str);
        let said = fields.filter(|text| words[1..].iter().any(|word| word.starts_with(text))).count();
        assert!(said > 0, "{event}");
    }
    let spent = fixture.ok("/v1/events?kind=exit_spent,exit_matured").await;
    let kinds: Vec<&Value> =
        spent["items"].as_array().unwrap().iter().map(|item| &item["events"][0]["kind"]).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == "exit_spent" || *kind == "exit_matured"));
    let next = fixture.ok(&format!("/v1/events?cursor={}", page["next_cursor"].as_str().unwrap())).await;
    assert_eq!((next["items"].as_array().unwrap().len(), &next["more"]), (0, &false.into()));
    let above = fixture.ok("/v1/events?from=119").await;
    assert_eq!(above["next_cursor"], page["next_cursor"], "what comes next has not come yet");
}

#[tokio::test]
async fn what_is_no_place_in_the_feed_is_refused_by_name() {
    let fixture = Fixture::new(super::BLOCKS);
    let nowhere = format!("01ff{}00000000", "09".repeat(32));
    for (query, status, code) in [
        ("cursor=x", 400, "bad_cursor"),
        ("cursor=", 400, "bad_cursor"),
        ("from=x", 400, "bad_parameter"),
        ("from=5&cursor=x", 400, "bad_parameter"),
        ("kind=exits", 400, "bad_parameter"),
        ("kind=", 400, "bad_parameter"),
        ("height=5", 400, "unknown_parameter"),
        ("from=120", 404, "block_not_found"),
        (&format!("cursor={nowhere}"), 410, "cursor_unknown"),
    ] {
        for path in ["/v1/events", "/v1/events/stream"] {
            let reply = fixture.get(&format!("{path}?{query}")).await;
            assert_eq!((reply.status.as_u16(), reply.code()), (status, code), "{path}?{query}");
        }
    }
    fixture.phase(Phase::CatchingUp);
    let reply = fixture.get(&format!("/v1/events?cursor={nowhere}")).await;
    assert_eq!((reply.status.as_u16(), reply.code()), (503, "catching_up"), "its block may come yet");
    fixture.ok("/v1/events").await;
}
