//! The program `btkn`; everything it does is in the library.

/// Also what RocksDB allocates with. Many threads that allocate small things and free them again is what the
/// allocator of the system is slow at.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    btkn_indexer::cli::main()
}
