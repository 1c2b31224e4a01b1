//! The verbs of the `catga` program for a user's own binary, which knows its application.

mod wire;

pub use self::wire::{Source, Wire};

use crate::App;
use clap::{Parser, Subcommand, ValueEnum};
use std::{ffi::OsString, io::Write, process::ExitCode};

#[derive(Debug, Parser)]
#[command(arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print what this application handles, consumes and promises
    Describe {
        /// How to print it
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Take a message's bytes apart, read them, or make them
    #[command(subcommand)]
    Wire(Wire),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// Lines for people
    Text,
    /// One JSON object
    Json,
}

/// Does what the command line asks for; answers the exit code: 0 fine, 1 a message that cannot be read, 2 usage,
/// input or output.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<std::process::ExitCode> {
/// let app = catga::App::builder("shop").build().await?;
/// Ok(catga::cli::main(&app)) // `shop describe -o json`
/// # }
/// ```
pub fn main(app: &App) -> ExitCode {
    run(app, std::env::args_os(), &mut std::io::stdout().lock())
}

fn run(app: &App, arguments: impl IntoIterator<Item = OsString>, out: &mut impl Write) -> ExitCode {
    let written = match Cli::try_parse_from(arguments) {
        Ok(Cli { verb: Verb::Describe { output: Output::Text } }) => write!(out, "{}", app.describe()),
        Ok(Cli { verb: Verb::Describe { output: Output::Json } }) => writeln!(out, "{}", app.describe().to_json()),
        Ok(Cli { verb: Verb::Wire(wire) }) => return wire.run(app.types(), out),
        Err(usage) => {
            // Help goes to standard output and is no error; where it cannot be printed, nothing can be said.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn describes_the_application_as_text_and_as_json() {
        let app = App::builder("shop").build().await.unwrap();
        let said = |arguments: &[&str]| {
            let mut out = Vec::new();
            let arguments = ["shop"].iter().chain(arguments).map(OsString::from);
            let code = run(&app, arguments, &mut out);
            (code, String::from_utf8(out).unwrap())
        };
        assert_eq!(said(&["describe"]), (ExitCode::SUCCESS, "application shop\n".into()));
        let (code, json) = said(&["describe", "-o", "json"]);
        assert_eq!(code, ExitCode::SUCCESS);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["application"], "shop");
        assert_eq!(said(&["nonsense"]).0, ExitCode::from(2));
    }
}
