//! The limits of the machine in the same run.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::limits::{Step, Watched, Worker};

/// The least time that a limit is measured for, in seconds.
const LEAST: f64 = 0.4;

/// How often each is measured; the median counts.
const TIMES: usize = 3;

/// Rates in GB/s.
pub struct Limits {
    /// Of each step, for one thread and for two.
    pub steps: Vec<(Step, &'static str, [f64; 2])>,
    /// Reading from the page cache into a reused buffer, for one thread and for two.
    pub pread: [f64; 2],
    /// Reading a disk from end to end, the page cache bypassed.
    pub disk: f64,
}

impl Limits {
    /// Measures all of them on these blocks, and on these files.
    pub fn measure(blocks: &[Vec<u8>], files: &[PathBuf]) -> Self {
        let watched = Watched::new(1_000);
        let steps = Step::ALL.map(|(step, name)| {
            let rate = |threads| rate(blocks, threads, |_| step.worker(&watched));
            (step, name, [rate(1), rate(2)])
        });
        let opened: Vec<File> = files.iter().map(|path| File::open(path).expect("a block file")).collect();
        let pread = |threads| rate(blocks, threads, |thread| pread(&opened[thread % opened.len()]));
        let limits = Limits { steps: steps.to_vec(), pread: [pread(1), pread(2)], disk: disk(files) };
        for (_, name, [one, two]) in &limits.steps {
            eprintln!("{one:6.2} {two:6.2} GB/s  {name}");
        }
        eprintln!("{:6.2} {:6.2} GB/s  pread", limits.pread[0], limits.pread[1]);
        eprintln!("{:6.2}        GB/s  disk", limits.disk);
        limits
    }

    /// The rate of a step on so many threads.
    pub fn of(&self, step: Step, threads: usize) -> f64 {
        let rates = self.steps.iter().find(|(other, _, _)| *other == step).map(|(_, _, rates)| rates);
        rates.expect("every step is measured")[threads.min(2) - 1]
    }
}

/// Reads a file from end to end, over and over, in pieces as long as the blocks.
fn pread(file: &File) -> Worker<'_> {
    let (mut buffer, mut offset) = (vec![0; 4 << 20], 0);
    Box::new(move |block| {
        let read = file.read_at(&mut buffer[..block.len()], offset).expect("the file can be read");
        offset = if read < block.len() { 0 } else { offset + read as u64 };
        black_box(&buffer);
    })
}

/// GB/s of several threads that share the blocks.
fn rate<'a>(blocks: &[Vec<u8>], threads: usize, worker: impl Fn(usize) -> Worker<'a> + Sync) -> f64 {
    let bytes: usize = blocks.iter().map(Vec::len).sum();
    let once = || {
        let next = AtomicUsize::new(0);
        let started = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (worker, next) = (&worker, &next);
                scope.spawn(move || {
                    let mut work = worker(thread);
                    while let Some(block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
                        work(block);
                    }
                });
            }
        });
        started.elapsed().as_secs_f64()
    };
    let many = || {
        let (mut seconds, mut rounds) = (0.0, 0);
        while seconds < LEAST {
            seconds += once();
            rounds += 1;
        }
        (bytes * rounds) as f64 / seconds / 1e9
    };
    let mut rates: Vec<f64> = (0..TIMES).map(|_| many()).collect();
    rates.sort_by(f64::total_cmp);
    rates[TIMES / 2]
}

/// GB/s of the disk, by `dd`, which can pass by the page cache.
fn disk(files: &[PathBuf]) -> f64 {
    let (mut bytes, mut seconds) = (0, 0.0);
    // All but the last, whose end is a hole.
    for path in &files[..files.len() - 1] {
        bytes += path.metadata().expect("a block file").len();
        let started = Instant::now();
        let input = format!("if={}", path.display());
        let mut dd = Command::new("dd");
        dd.args([&input, "of=/dev/null", "bs=4M", "iflag=direct"]).stderr(Stdio::null());
        assert!(dd.status().expect("there is dd").success(), "dd can read {input}");
        seconds += started.elapsed().as_secs_f64();
    }
    bytes as f64 / seconds / 1e9
}
