//! What `evenkeel plan` and `evenkeel gc` have in common: arguments in, a text or an error out.

use std::process::ExitCode;

use clap::Parser;

/// Reads the words after a subcommand, runs it and prints what it says: the answer to standard output, an error to standard error.
pub(crate) async fn subcommand<A: Parser, F: Future<Output = Result<String, String>>>(
    name: &str,
    args: impl Iterator<Item = String>,
    run: impl FnOnce(A) -> F,
) -> ExitCode {
    let arguments = match A::try_parse_from(std::iter::once(name.to_owned()).chain(args)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(arguments).await {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}
