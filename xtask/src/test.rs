//! `cargo xtask test`: everything that a contributor runs before pushing, cheapest first.

use std::time::Instant;

use crate::{Failure, kubectl, program, story};

/// Runs every part, goes on after one that failed where the next does not need it, and says at the end how it went.
pub fn run(args: &[String]) -> Result<(), Failure> {
    if !args.is_empty() {
        return Err(Failure::Usage("test takes no arguments".into()));
    }
    let start = Instant::now();
    let mut parts = Parts::default();
    parts.part("format", || program::run(&mut program::cargo(&["fmt", "--all", "--check"])));
    parts.part("lints", || {
        program::run(&mut program::cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]))
    });
    // All targets at once, so that the programs share every dependency with the tests and nothing is built twice.
    let built = parts.part("build", || program::build(&["--all-targets", "--quiet"]));
    if built {
        let tools = kubectl::find();
        parts.part("unit, property and black-box tests, recorded behaviours and conversations", || {
            let mut tests = program::cargo(&["test", "--workspace", "--all-targets", "--quiet", "--no-fail-fast"]);
            tests.env("EVENKEEL_BUILT", "1");
            if let Ok(kubectl) = &tools {
                tests.env("EVENKEEL_KUBECTL", kubectl);
            }
            program::run(&mut tests)
        });
        parts.part("examples in the documentation", || program::run(&mut program::cargo(&["test", "--workspace", "--doc", "--quiet"])));
        parts.part("story: handson", || {
            program::run(story::stories()?.arg("handson").env_remove("KUBEBUILDER_ASSETS").env_remove("EVENKEEL_TEST_KUBECONFIG"))
        });
        // Helm waits most of its time: the two run beside each other.
        parts.part("stories: kubectl and Helm", || {
            let mut both = story::of("kubectl")?;
            program::run(both.arg("--with-helm").env_remove("KUBEBUILDER_ASSETS").env_remove("EVENKEEL_TEST_KUBECONFIG"))
        });
        parts.part("story: clients", || program::run(story::of("clients")?.env_remove("EVENKEEL_TEST_KUBECONFIG")));
        if std::env::var_os("KUBEBUILDER_ASSETS").is_some() || std::env::var_os("EVENKEEL_TEST_KUBECONFIG").is_some() {
            parts.part("story: handson, on a real API server", || program::run(story::stories()?.arg("handson")));
            parts.part("stories: kubectl and Helm, on a real API server", || program::run(story::of("kubectl")?.arg("--with-helm")));
        }
    }
    parts.summary(start)
}

#[derive(Default)]
struct Parts {
    done: Vec<&'static str>,
    failed: Vec<String>,
}

impl Parts {
    fn part(&mut self, name: &'static str, work: impl FnOnce() -> Result<(), Failure>) -> bool {
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = work();
        let took = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                println!("=== {name}: ok ({took:.0} s)");
                self.done.push(name);
                true
            }
            Err(failure) => {
                println!("=== {name}: FAILED ({took:.0} s): {failure}");
                self.failed.push(name.to_owned());
                false
            }
        }
    }

    fn summary(&self, start: Instant) -> Result<(), Failure> {
        let took = start.elapsed().as_secs();
        let minutes = format!("{}:{:02} min", took / 60, took % 60);
        if self.failed.is_empty() {
            println!("\ncargo xtask test: all {} parts passed in {minutes}", self.done.len());
            return Ok(());
        }
        Err(Failure::Verdict(format!(
            "cargo xtask test: {} passed, {} failed ({}) in {minutes}",
            self.done.len(),
            self.failed.len(),
            self.failed.join("; ")
        )))
    }
}
