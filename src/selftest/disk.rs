//! What the database needs of a file system, tried out one by one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::SelftestError;

/// Bytes that are written to see that there is room; the test takes less.
const ROOM: usize = 32 << 20;

/// How often a small write is made durable, to see how long that takes.
const SYNCS: u32 = 20;

/// What was found.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Type of the file system, where the system tells.
    pub file_system: Option<String>,
    /// Bytes that were written to see that there is room.
    pub room: usize,
    /// How long it takes to make a small write durable: the median.
    pub sync: Duration,
}

/// Tries what can be tried without a database.
pub(super) fn examine(dir: &Path) -> Result<Disk, SelftestError> {
    let unusable = |e: io::Error| SelftestError::unusable(dir, &e);
    let room = room(dir).map_err(unusable)?;
    rename(dir)?;
    let sync = sync(dir).map_err(unusable)?;
    Ok(Disk { file_system: file_system(dir), room, sync })
}

/// Writes as much as the test needs. No zeros, which some file systems do not store.
fn room(dir: &Path) -> io::Result<usize> {
    let path = dir.join("room");
    let mut file = File::create(&path)?;
    let mut state = 1u32;
    let mut block = vec![0; 1 << 20];
    for _ in 0..ROOM / block.len() {
        for byte in &mut block {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        file.write_all(&block)?;
    }
    file.sync_all()?;
    fs::remove_file(path)?;
    Ok(ROOM)
}

/// A rename puts one file in the place of another, and a directory under another name.
fn rename(dir: &Path) -> Result<(), SelftestError> {
    let unusable = |e: io::Error| SelftestError::unusable(dir, &e);
    let (old, new) = (dir.join("old"), dir.join("new"));
    fs::write(&new, "before").map_err(unusable)?;
    fs::write(&old, "after").map_err(unusable)?;
    fs::rename(&old, &new).map_err(unusable)?;
    let content = fs::read(&new).map_err(unusable)?;
    if content != b"after" || old.exists() {
        return Err(SelftestError::Rename);
    }
    fs::remove_file(&new).map_err(unusable)?;
    fs::create_dir(&old).map_err(unusable)?;
    fs::write(old.join("file"), "within").map_err(unusable)?;
    fs::rename(&old, &new).map_err(unusable)?;
    if fs::read(new.join("file")).map_err(unusable)? != b"within" {
        return Err(SelftestError::Rename);
    }
    fs::remove_dir_all(&new).map_err(unusable)
}

fn sync(dir: &Path) -> io::Result<Duration> {
    let path = dir.join("sync");
    let mut file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        file.write_all(&[0; 100])?;
        let started = Instant::now();
        file.sync_data()?;
        times.push(started.elapsed());
    }
    File::open(dir)?.sync_all()?;
    fs::remove_file(path)?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// The type of the file system that holds `dir`, from the table of mounts of Linux.
fn file_system(dir: &Path) -> Option<String> {
    let device = fs::metadata(dir).ok()?.dev();
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        (fs::metadata(point).ok()?.dev() == device).then(|| kind.to_owned())
    });
    mounts.next_back()
}
