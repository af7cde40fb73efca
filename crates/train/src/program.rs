//! Who trains, as runs note it.

use std::fmt;

/// The version of this library, and of the command.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the command is called, and the library.
pub const RIGL: &str = "rigl";

/// A program that trains: what it is called, and which build of this library it holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    /// What it is called.
    pub name: String,
    /// The commit from which the library was built, `-dirty` behind it if files had been changed; if known.
    pub commit: Option<String>,
    /// The day of that commit, `2026-01-31`.
    pub date: Option<String>,
}

impl Default for Program {
    /// One that says nothing of itself.
    fn default() -> Program {
        Program { name: RIGL.into(), commit: None, date: None }
    }
}

impl Program {
    /// The version and the build: `0.1.0 (1a2b3c4d5e 2026-01-31)`, as far as they are known.
    pub fn build(&self) -> String {
        let Some(commit) = &self.commit else { return VERSION.into() };
        // Ten digits tell any two commits of a project apart.
        let (digits, dirty) =
            commit.split_once('-').map_or((&**commit, ""), |(digits, _)| (digits, "-dirty"));
        let digits: String = digits.chars().take(10).collect();
        let date = self.date.as_ref().map_or_else(String::new, |date| format!(" {date}"));
        format!("{VERSION} ({digits}{dirty}{date})")
    }
}

impl fmt::Display for Program {
    /// `rigl 0.1.0`; of another program `mine (rigl 0.1.0)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.name {
            RIGL => write!(f, "{RIGL} {VERSION}"),
            name => write!(f, "{name} ({RIGL} {VERSION})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_what_it_is_called_and_which_build_it_is() {
        let commit = Some("1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d".to_string());
        let date = Some("2026-01-31".to_string());
        let ours = Program { commit: commit.clone(), date, ..Program::default() };
        assert_eq!(ours.to_string(), format!("rigl {VERSION}"));
        assert_eq!(ours.build(), format!("{VERSION} (1a2b3c4d5e 2026-01-31)"));
        let dirty = Program { name: "mine".into(), commit: commit.map(|c| c + "-dirty"), date: None };
        assert_eq!(dirty.to_string(), format!("mine (rigl {VERSION})"));
        assert_eq!(dirty.build(), format!("{VERSION} (1a2b3c4d5e-dirty)"));
        assert_eq!(Program::default().build(), VERSION);
    }
}
