//! The program `btkn`; everything it does is in the library.

fn main() -> std::process::ExitCode {
    btkn_indexer::cli::main()
}
