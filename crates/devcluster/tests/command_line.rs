//! `cargo dev` as a person meets it: what it prints, what it leaves behind, and how it ends.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_devcluster"))
}

/// A folder of its own for each test.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("evenkeel-dev-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("made");
    folder
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts it and waits for the line that says where the API server is.
fn started(command: &mut Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first = lines.next().expect("says something").expect("text");
    // Whoever closes the pipe does not end it; but its lines are read on, so that it never waits for us.
    std::thread::spawn(move || lines.for_each(drop));
    let url = first.split_whitespace().nth(2).unwrap_or_else(|| panic!("{first}")).to_owned();
    (child, url)
}

fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("there is a kill");
    assert!(sent.success());
}

fn ended(mut child: Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("ours") {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    panic!("it did not end");
}

#[test]
fn a_port_that_was_asked_for_and_is_taken_is_an_error_in_a_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let output = command().args(["--port", &port.to_string()]).output().expect("runs");
    assert!(!output.status.success());
    assert!(stderr(&output).contains(&format!("error: port {port} on 127.0.0.1 is in use")), "{}", stderr(&output));
}

#[test]
fn a_kubeconfig_of_somebody_else_is_not_overwritten() {
    let path = folder("foreign").join("config");
    std::fs::write(&path, "kind: Config\n").expect("written");
    let output = command().args(["--port", "0", "--no-nodes", "--no-manager", "--kubeconfig"]).arg(&path).output().expect("runs");
    assert!(!output.status.success());
    assert!(stderr(&output).contains("was not written by cargo dev"), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "kind: Config\n");
}

#[test]
fn ctrl_c_ends_it_cleanly_and_a_second_one_runs_beside_the_first() {
    let folder = folder("beside");
    let run = |name: &str| started(command().args(["--no-nodes", "--no-manager", "--kubeconfig"]).arg(folder.join(name)));
    let ((first, one), (second, two)) = (run("one"), run("two"));
    assert_ne!(one, two);
    let written = std::fs::read_to_string(folder.join("two")).expect("written");
    assert!(written.contains(&format!("server: {two}")), "{written}");
    for child in [first, second] {
        interrupt(&child);
        assert_eq!(ended(child), Some(0));
    }
}

#[test]
fn a_demo_that_nobody_works_on_ends_with_a_reason() {
    let path = folder("reason").join("kubeconfig");
    let output = command()
        .args(["--demo", "guestbook", "--once", "--timeout", "1s", "--no-nodes", "--no-manager", "--port", "0", "--kubeconfig"])
        .arg(path)
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("the demo did not converge within 1 s: Deployment frontend: no manager has looked at it yet"), "{said}");
}

#[test]
fn unknown_flags_are_refused() {
    let output = command().arg("--nodez").output().expect("runs");
    assert!(!output.status.success());
    assert!(stderr(&output).contains("--nodez"), "{}", stderr(&output));
}
