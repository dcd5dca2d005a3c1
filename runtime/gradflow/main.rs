//! The command `gradflow`: the same program as `runtime`.

#[path = "../main.rs"]
mod runtime;

fn main() -> std::process::ExitCode {
    runtime::main()
}
