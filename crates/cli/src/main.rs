//! The command `rigl`: everything is in the library, so that a program with own parts is the same command.

fn main() -> std::process::ExitCode {
    rigl_cli::run(rigl_train::Registry::default())
}
