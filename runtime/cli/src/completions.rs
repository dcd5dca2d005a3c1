//! `runtime completions`: lets a shell complete this command.

use clap::Args;
use clap_complete::Shell;

use super::output::{Failure, print};

const EXAMPLES: &str = "\
Examples:
  runtime completions bash > ~/.local/share/bash-completion/completions/runtime
  runtime completions zsh > ~/.zfunc/_runtime";

/// Prints a script that lets a shell complete this command.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The shell.
    shell: Shell,
}

pub(super) fn completions(
    arguments: &Arguments,
    mut command: clap::Command,
) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "runtime", &mut script);
    print(&String::from_utf8_lossy(&script))
}
