//! The programs fail early, with the variable and the cure.

use std::process::{Command, Output};

fn run(command: &mut Command) -> (bool, String) {
    let Output { status, stderr, .. } = command.output().expect("the program starts");
    (
        status.success(),
        String::from_utf8_lossy(&stderr).into_owned(),
    )
}

fn embedder(library: &str, model: &str) -> (bool, String) {
    run(Command::new(env!("CARGO_BIN_EXE_midwatch-embedder"))
        .env_clear()
        .env("ORT_DYLIB_PATH", library)
        .env("MODEL_DIR", model)
        .env("HTTP_BIND", "127.0.0.1:0"))
}

#[test]
fn a_missing_library_or_model_is_named_and_nothing_panics() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_str().expect("UTF-8");
    let (ok, text) = embedder("/nowhere/libonnxruntime.so", path);
    assert!(
        !ok && text.contains("ORT_DYLIB_PATH is /nowhere/libonnxruntime.so"),
        "{text}"
    );

    let library = folder.path().join("libonnxruntime.so");
    std::fs::write(&library, "no library").expect("written");
    let library = library.to_str().expect("UTF-8");
    let (ok, text) = embedder(library, path);
    assert!(
        !ok && text.contains("MODEL_DIR") && text.contains("model.onnx"),
        "{text}"
    );

    for name in [
        "model.onnx",
        "tokenizer.json",
        "config.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
    ] {
        std::fs::write(folder.path().join(name), "{}").expect("written");
    }
    let (ok, text) = embedder(library, path);
    assert!(
        !ok && text.contains("(ORT_DYLIB_PATH) cannot be used"),
        "{text}"
    );
    assert!(!text.contains("panicked"), "{text}");
}

fn seeder() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_midwatch-seeder"));
    command
        .env_clear()
        .env("KNOWLEDGE_DIR", env!("CARGO_MANIFEST_DIR"));
    command
}

#[test]
fn the_seeder_checks_the_committed_files() {
    let (ok, text) = run(seeder().arg("--check"));
    assert!(ok, "{text}");
    let (ok, text) = run(seeder().arg("--check").env("KNOWLEDGE_DIR", "/nowhere"));
    assert!(!ok && text.contains("/nowhere/services.json"), "{text}");
}

#[test]
fn the_seeder_gives_up_when_the_store_does_not_come() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = closed.local_addr().expect("bound").port();
    drop(closed);
    let (ok, text) = run(seeder()
        .args(["--wait-seconds", "1"])
        .env("QDRANT_URL", format!("http://127.0.0.1:{port}")));
    assert!(!ok && text.contains("not both ready within 1 s"), "{text}");
    let (ok, text) = run(seeder().env("EMBEDDINGS_URL", "nonsense"));
    assert!(!ok && text.contains("EMBEDDINGS_URL"), "{text}");
}
