//! A method's name is a preset of the `[method]` table: here is what each name sets.

use rigl_base::Result;
use rigl_topology::{DropScore, GrowScore, GrownInit, StepPolicy};

use super::{Config, unknown};

/// The one name that means more than its columns: no layer is sparse.
pub const DENSE: &str = "dense";

/// What a method's name sets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MethodRow {
    /// The name: `rigl`.
    pub name: &'static str,
    /// By which score weights are dropped.
    pub drop: DropScore,
    /// By which score weights are grown.
    pub grow: GrowScore,
    /// The value a grown weight starts from.
    pub grown_init: GrownInit,
    /// Whether an update replaces the optimiser's step.
    pub step_policy: StepPolicy,
}

/// The methods that come with the program.
///
/// - `rigl`: Evci et al., ICML 2020. Drops small magnitudes, grows large gradients; an update replaces a step.
/// - `set`: Mocanu et al., Nature Communications 2018. Drops small magnitudes, grows at random, after the step.
/// - `static`: a random pattern that never changes.
/// - `dense`: the baseline, every layer dense.
pub fn methods() -> Vec<MethodRow> {
    let row = |name, drop, grow, step_policy| MethodRow {
        name,
        drop,
        grow,
        grown_init: GrownInit::Zeros,
        step_policy,
    };
    vec![
        row("rigl", DropScore::Magnitude, GrowScore::Gradient, StepPolicy::Replace),
        row("set", DropScore::Magnitude, GrowScore::Random, StepPolicy::After),
        row("static", DropScore::None, GrowScore::None, StepPolicy::After),
        row(DENSE, DropScore::None, GrowScore::None, StepPolicy::After),
    ]
}

/// Sets the columns that the method's name determines.
pub(super) fn apply(config: &mut Config, rows: &[MethodRow]) -> Result<()> {
    let name = config.method.name.as_str();
    let row = rows.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| unknown("method", name, rows.iter().map(|row| row.name)))?;
    config.method.drop = row.drop;
    config.method.grow = row.grow;
    config.method.grown_init = row.grown_init;
    config.method.step_policy = row.step_policy;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_configuration_is_what_its_methods_name_gives() {
        let mut config = Config::default();
        apply(&mut config, &methods()).unwrap();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn a_users_own_row_is_a_name_like_the_others() {
        let mut rows = methods();
        rows.push(MethodRow { name: "mine", grow: GrowScore::Random, ..rows[0].clone() });
        let mut config = Config::default();
        config.method.name = "mine".into();
        apply(&mut config, &rows).unwrap();
        assert_eq!(config.method.grow, GrowScore::Random);
        config.method.name = "rigel".into();
        let error = apply(&mut config, &rows).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown method `rigel`, expected one of `rigl`, `set`, `static`, `dense`, `mine`"
        );
        assert_eq!(error.hint_text(), Some("rigl"));
    }
}
