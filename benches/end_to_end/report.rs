//! The tables.

use std::collections::BTreeMap;
use std::fmt::Write;

use btkn_testkit::bench_chain::Facts;

use super::rates::Limits;
use super::runs::Row;

/// The tables as they are filled.
pub struct Report(String);

impl Report {
    /// Begins with the machine, the chain and the limits.
    pub fn new(machine: &str, facts: &Facts, limits: &Limits) -> Self {
        let mut report = Report(String::new());
        let blocks = facts.height + 1 - facts.traffic_from;
        let (bytes, mean) =
            (facts.traffic_bytes as f64 / 1e9, facts.traffic_bytes as f64 / f64::from(blocks));
        report.line(&format!("Measured on: {machine}."));
        report.line(&format!(
            "The chain: {blocks} blocks of {:.2} MB, {bytes:.2} GB; seed {}.\n",
            mean / 1e6,
            facts.seed
        ));
        report.line("| limit of this machine, GB/s | 1 thread | 2 threads |\n|---|---|---|");
        for (_, name, [one, two]) in &limits.steps {
            report.line(&format!("| {name} | {one:.1} | {two:.1} |"));
        }
        let [one, two] = limits.pread;
        report.line(&format!("| `pread` from the page cache into a reused buffer | {one:.1} | {two:.1} |"));
        report.line(&format!("| the disk from end to end, past the page cache | {:.1} | |", limits.disk));
        report
    }

    /// Adds what was measured with block files.
    pub fn files(&mut self, rows: &[Row]) {
        self.head("block files in", "limit");
        for row in rows {
            self.row(place(row), row);
        }
    }

    /// Adds what was measured with watched outputs.
    pub fn watched(&mut self, rows: &[Row]) {
        self.head("outputs watched", "with none");
        for row in rows {
            self.row(&thousands(row.watched), row);
        }
    }

    /// Adds what was measured over REST.
    pub fn rest(&mut self, rows: &[Row]) {
        self.head("over REST", "curl");
        for row in rows {
            self.row(&connections(row), row);
        }
    }

    /// Adds what was measured over RPC.
    pub fn rpc(&mut self, rows: &[Row]) {
        self.head("over RPC", "limit");
        for row in rows {
            self.row(&connections(row), row);
        }
    }

    /// Adds what all runs agreed on.
    pub fn state_hashes(&mut self, ends: BTreeMap<u32, String>) {
        for (start, hash) in ends {
            self.line(&format!("\nEvery run from height {start} ended with the state hash `{hash}`."));
        }
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.0.clone()
    }

    fn head(&mut self, first: &str, limit: &str) {
        self.line(&format!(
            "\n| {first} | `--verify-blocks` | threads | GB/s | blocks/s | {limit}, GB/s | of it | peak memory, MiB \
             | written, MB |\n|---|---|---|---|---|---|---|---|---|"
        ));
    }

    fn row(&mut self, first: &str, row: &Row) {
        let (limit, part) = match row.limit > 0.0 {
            true => (format!("{:.2}", row.limit), format!("{:.0} %", row.rate / row.limit * 100.0)),
            false => ("-".into(), "-".into()),
        };
        let (peak, written) = (row.used.peak / 1024, row.used.written as f64 / 1e6);
        let Row { mode, threads, rate, blocks, .. } = row;
        self.line(&format!(
            "| {first} | {mode} | {threads} | {rate:.2} | {blocks:.0} | {limit} | {part} | {peak} | {written:.1} |"
        ));
    }

    fn line(&mut self, line: &str) {
        println!("{line}");
        writeln!(self.0, "{line}").expect("a string takes what is written to it");
    }
}

/// Where the files were, which the bytes that came from a disk show.
fn place(row: &Row) -> &'static str {
    let from_disk = row.used.read as f64 > 0.9 * row.rate * 1e9 * row.used.wall;
    match (row.cold, from_disk) {
        (false, _) => "the page cache",
        (true, true) => "the disk",
        (true, false) => "the page cache (not dropped)",
    }
}

fn connections(row: &Row) -> String {
    format!("{} connections", row.used.connections)
}

/// A number with commas between its thousands.
fn thousands(number: u32) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1_000), number % 1_000),
    }
}
