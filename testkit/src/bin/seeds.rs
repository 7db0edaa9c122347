//! Writes the seeds of the fuzz targets: `seeds DIR` makes `DIR/<target>/<number>`.

use std::path::Path;
use std::process::ExitCode;

use btkn_testkit::fuzz::seeds::seeds;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(out), None) = (args.next(), args.next()) else {
        eprintln!("usage: seeds DIR    writes the seeds of the fuzz targets to DIR/<target>");
        return ExitCode::from(2);
    };
    match write(Path::new(&out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seeds: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(out: &Path) -> std::io::Result<()> {
    for (target, inputs) in seeds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")) {
        let dir = out.join(target);
        std::fs::create_dir_all(&dir)?;
        for (number, input) in inputs.iter().enumerate() {
            std::fs::write(dir.join(format!("{number:04}")), input)?;
        }
        println!("{}: {} seeds", dir.display(), inputs.len());
    }
    Ok(())
}
