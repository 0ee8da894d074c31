//! Nobody who investigates may know the answer.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    for entry in entries {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn no_service_names_the_ground_truth() {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services");
    let mut files = Vec::new();
    let mut crates = 0;
    for entry in fs::read_dir(&services).expect("the services are beside the simulator") {
        let source = entry.expect("the folder can be listed").path().join("src");
        if source.is_dir() {
            crates += 1;
            sources(&source, &mut files);
        }
    }
    assert!(
        crates >= 8,
        "six agents, the collector and the dashboard: {crates}"
    );
    for file in files {
        let bytes = fs::read(&file).expect("a source file is readable");
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        for name in ["groundtruth", "ground-truth", "ground_truth"] {
            assert!(!text.contains(name), "{} names {name}", file.display());
        }
    }
}

#[test]
fn no_service_can_compute_the_stories_of_the_fleet() {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services");
    let mut read = 0;
    for entry in fs::read_dir(&services).expect("the services are beside the simulator") {
        let folder = entry.expect("the folder can be listed").path();
        let mut files = vec![folder.join("Cargo.toml")];
        if folder.join("src").is_dir() {
            sources(&folder.join("src"), &mut files);
        }
        for file in files.into_iter().filter(|file| file.is_file()) {
            read += 1;
            let bytes = fs::read(&file).expect("a file of a service is readable");
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            // Tests may live through a simulated world, programs may not.
            let text = text.split("[dev-dependencies]").next().unwrap_or_default();
            for name in ["midwatch-simulator", "midwatch_simulator", "sim_trials"] {
                assert!(!text.contains(name), "{} names {name}", file.display());
            }
        }
    }
    assert!(read > 50, "{read} files of services");
}
