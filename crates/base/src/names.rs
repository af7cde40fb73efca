//! Enums whose values users write in configurations and see in tables.

/// Declares an enum whose values have names and meanings: `ALL`, `name()`, `from_name()`, `meaning()`, `Display`.
///
/// ```
/// rigl_base::named_enum! {
///     /// How a fraction shrinks.
///     pub enum Decay { /// Half a cosine.
///                      Cosine = "cosine", /// Not at all.
///                      Constant = "constant" }
/// }
/// assert_eq!(Decay::from_name("cosine"), Some(Decay::Cosine));
/// assert_eq!(Decay::Constant.to_string(), "constant");
/// assert_eq!(Decay::Cosine.meaning().trim(), "Half a cosine.");
/// ```
#[macro_export]
macro_rules! named_enum {
    ($(#[$meta:meta])* $vis:vis enum $type:ident { $($(#[doc = $doc:literal])+ $value:ident = $name:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        $vis enum $type { $($(#[doc = $doc])+ $value),+ }

        impl $type {
            /// Every value, in the order of its declaration.
            pub const ALL: &'static [$type] = &[$($type::$value),+];

            /// The name users write.
            pub const fn name(self) -> &'static str {
                match self { $($type::$value => $name),+ }
            }

            /// What it means: its documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $($type::$value => concat!($($doc),+)),+ }
            }

            /// The value of that name.
            pub fn from_name(name: &str) -> Option<$type> {
                Self::ALL.iter().copied().find(|v| v.name() == name)
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
