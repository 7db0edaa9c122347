//! Replays the corpora of the fuzz targets, and everything that fuzzing ever found, as ordinary tests.

use std::fs;
use std::path::{Path, PathBuf};

use btkn_testkit::fuzz::{TARGETS, Target, seeds};

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The files of a directory, by name; none if there is no such directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs a target on a file; on failure libtest prints the captured name before the panic.
fn replay(target: &Target, file: &Path) {
    println!("{}", file.display());
    (target.run)(&fs::read(file).unwrap());
}

#[test]
fn every_corpus_is_there_and_keeps_the_laws() {
    for target in TARGETS {
        let corpus = files(&fuzz_dir().join("corpus").join(target.name));
        assert!(corpus.len() >= 20, "the corpus of {} has {} inputs", target.name, corpus.len());
        corpus.iter().for_each(|file| replay(target, file));
    }
}

#[test]
fn what_fuzzing_found_stays_fixed() {
    let mut found = 0;
    for target in TARGETS {
        let inputs = files(&fuzz_dir().join("regressions").join(target.name));
        found += inputs.len();
        inputs.iter().for_each(|file| replay(target, file));
    }
    assert!(found > 0, "there are regressions");
}

#[test]
fn seeds_keep_the_laws() {
    let seeds = seeds::seeds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures"));
    for target in TARGETS {
        let inputs = &seeds[target.name];
        assert!(inputs.len() > 5, "{} has {} seeds", target.name, inputs.len());
        inputs.iter().for_each(|input| (target.run)(input));
    }
}

#[test]
fn every_target_has_a_program_and_the_other_way_round() {
    let mut programs: Vec<String> = files(&fuzz_dir().join("targets"))
        .iter()
        .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let mut names: Vec<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    names.sort();
    programs.sort();
    assert_eq!(programs, names);
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name} is not in Cargo.toml");
        let program = fs::read_to_string(fuzz_dir().join(format!("targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("run(\"{name}\", data)")), "{name} runs another target");
    }
}
